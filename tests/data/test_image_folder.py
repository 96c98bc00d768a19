"""Folders of images: which files are taken, and which class each folder is."""

from __future__ import annotations

from collections import Counter

import pytest

from hubserve.cards.labels import CIFAR10, imagenet_wnids, labels
from hubserve.data.image_folder import labelled_images
from hubserve.errors import DatasetError

IMAGENET = labels("imagenet-1k")
WNIDS = {"n01440764": 0, "n02123045": 281, "n07920052": 967, "n15075141": 999}
"""Some of ImageNet's ids, with the class that each is everywhere: tench, tabby, espresso, toilet tissue."""


@pytest.fixture
def folder(tmp_path):
    """Makes files, given their paths below it; they are not read here."""

    def make(*paths: str):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        return tmp_path

    return make


def found(images, root):
    return {str(path.relative_to(root)): label for path, label in images.items}


class TestWnids:
    def test_the_class_is_the_place_among_all_1000(self, folder):
        """Whichever few of the folders are there."""
        root = folder(*(f"{wnid}/1.jpg" for wnid in WNIDS))
        images = labelled_images(root, IMAGENET)
        assert images.rule == "wnid"
        assert found(images, root) == {f"{wnid}/1.jpg": label for wnid, label in WNIDS.items()}

    def test_one_folder(self, folder):
        images = labelled_images(folder("n15075141/1.JPEG"), IMAGENET)
        assert [label for _, label in images.items] == [999]

    def test_the_ids_are_sorted_and_a_thousand(self):
        wnids = imagenet_wnids()
        assert len(set(wnids)) == 1000
        assert list(wnids) == sorted(wnids)
        assert {wnids[i]: i for i in WNIDS.values()} == WNIDS

    def test_the_names_that_belong_to_them(self):
        assert [IMAGENET[i] for i in WNIDS.values()] == ["tench", "tabby", "espresso", "toilet tissue"]

    def test_val_is_entered(self, folder):
        root = folder("val/n02123045/1.jpg", "train/n01440764/2.jpg", "train/other/3.jpg")
        assert found(labelled_images(root, IMAGENET), root) == {"val/n02123045/1.jpg": 281}

    def test_the_only_part_is_that_of_training(self, folder):
        root = folder("train/n02123045/1.jpg")
        assert found(labelled_images(root, IMAGENET), root) == {"train/n02123045/1.jpg": 281}

    def test_not_for_a_model_of_other_classes(self, folder):
        with pytest.raises(DatasetError, match=r"'n02123045' is neither a WordNet id nor one of the model's 10 labels"):
            labelled_images(folder("n02123045/1.jpg", "n07920052/1.jpg"), CIFAR10)

    def test_an_unknown_folder_among_them_is_named(self, folder):
        with pytest.raises(DatasetError, match="folder 'cats' is neither a WordNet id nor"):
            labelled_images(folder("cats/1.jpg", "tench/1.jpg"), IMAGENET)
        with pytest.raises(DatasetError, match="by order, 3 folders cannot be the model's 1000 classes"):
            labelled_images(folder("n02123045/1.jpg"), IMAGENET, by_order=True)

    def test_the_images_of_the_developers(self, shared):
        images = labelled_images(shared / "data" / "imagenet_samples", IMAGENET)
        assert images.rule == "wnid"
        assert len(images.items) == 250
        for path, label in images.items:
            assert imagenet_wnids()[label] == path.parent.name


class TestClassFolders:
    def test_by_the_class_s_name(self, folder):
        root = folder("truck/a.png", "cat/b.png", "cat/a.png")
        images = labelled_images(root, CIFAR10)
        assert images.rule == "label"
        assert found(images, root) == {"cat/a.png": 3, "cat/b.png": 3, "truck/a.png": 9}

    def test_imagenet_s_names_too(self, folder):
        images = labelled_images(folder("espresso/1.jpg", "Egyptian cat/2.jpg"), IMAGENET)
        assert images.rule == "label"
        assert sorted(label for _, label in images.items) == [285, 967]

    def test_by_order_where_there_is_one_for_each_class(self, folder):
        root = folder("zebra/1.png", "ant/1.png", "middle/1.png")
        labels = ("first", "second", "third")
        with pytest.raises(DatasetError, match=r"folder 'ant' is neither .* or give --by-order if the folders, sorted"):
            labelled_images(root, labels)
        images = labelled_images(root, labels, by_order=True)
        assert images.rule == "order"
        assert found(images, root) == {"ant/1.png": 0, "middle/1.png": 1, "zebra/1.png": 2}

    def test_every_label_is_one_class(self):
        """Else a folder's name would not tell which of two is meant."""
        assert [label for label, n in Counter(IMAGENET).items() if n > 1] == []

    def test_one_mistyped_name_does_not_shift_the_other_classes(self, folder):
        """Capitals sort before small letters: by their order, the nine that are known by name all become another class."""
        names = [*CIFAR10[:-1], "Truck"]
        with pytest.raises(DatasetError, match="'Truck'"):
            labelled_images(folder(*(f"{name}/1.png" for name in names)), CIFAR10)
        with pytest.raises(DatasetError, match="'airplane' has the name of a label of the model; leave --by-order out"):
            labelled_images(folder(), CIFAR10, by_order=True)

    def test_folders_that_are_numbers_are_those_classes(self, folder):
        root = folder(*(f"{i}/1.png" for i in range(11)))
        images = labelled_images(root, tuple(f"class {i}" for i in range(11)))
        assert found(images, root) == {f"{i}/1.png": i for i in range(11)}


class TestFiles:
    def test_images_deep_inside(self, folder):
        root = folder("cat/a/b/1.jpg", "cat/2.jpg", "dog/x/3.jpg")
        assert found(labelled_images(root, CIFAR10), root) == {"cat/2.jpg": 3, "cat/a/b/1.jpg": 3, "dog/x/3.jpg": 5}

    def test_what_is_an_image_by_its_name(self, folder):
        taken = ["1.jpg", "2.JPEG", "3.Png", "4.webp", "5.bmp", "6.gif", "7.tif", "8.tiff", "9.ppm", "a.b.jpg"]
        left = ["notes.txt", "jpg", ".jpg", "1.jpg.part", "thumbs.db"]
        root = folder(*(f"cat/{name}" for name in taken + left))
        (root / "cat" / "folder.jpg").mkdir()
        assert set(found(labelled_images(root, CIFAR10), root)) == {f"cat/{name}" for name in taken}

    def test_in_a_steady_order(self, folder):
        root = folder("dog/2.jpg", "dog/1.jpg", "cat/10.jpg", "cat/9.jpg")
        items = labelled_images(root, CIFAR10).items
        assert [str(path.relative_to(root)) for path, _ in items] == ["cat/10.jpg", "cat/9.jpg", "dog/1.jpg", "dog/2.jpg"]

    def test_an_empty_folder_is_still_a_class(self, folder):
        root = folder("b/1.png", "c/1.png")
        (root / "a").mkdir()
        assert found(labelled_images(root, ("x", "y", "z"), by_order=True), root) == {"b/1.png": 1, "c/1.png": 2}

    def test_hidden_folders_and_loose_files_are_passed_over(self, folder):
        root = folder(".cache/1.jpg", "cat/1.jpg", "README.md", "loose.jpg")
        assert found(labelled_images(root, CIFAR10), root) == {"cat/1.jpg": 3}

    def test_folders_that_are_links(self, folder, tmp_path_factory):
        elsewhere = tmp_path_factory.mktemp("disk")
        (elsewhere / "1.jpg").touch()
        root = folder("dog/1.jpg")
        (root / "cat").symlink_to(elsewhere, target_is_directory=True)
        assert found(labelled_images(root, CIFAR10), root) == {"cat/1.jpg": 3, "dog/1.jpg": 5}


class TestOtherSources:
    def test_the_test_part_is_entered_first(self, folder):
        root = folder("Test/cat/1.jpg", "valid/cat/2.jpg", "train/cat/3.jpg", "train/other/3.jpg")
        assert found(labelled_images(root, CIFAR10), root) == {"Test/cat/1.jpg": 3}

    def test_two_test_parts_are_refused(self, folder):
        with pytest.raises(DatasetError, match=r"Test/ and test/, and both names mean the test part"):
            labelled_images(folder("Test/cat/1.jpg", "test/cat/2.jpg"), CIFAR10)

    def test_a_listing(self, folder):
        root = folder("a.jpg", "b.jpg", "c.jpg")
        listing = root / "list.csv"
        listing.write_text("path,label\na.jpg,dog\nb.jpg,cat\n")
        images = labelled_images(listing, CIFAR10)
        assert (images.rule, found(images, root)) == ("label", {"b.jpg": 3, "a.jpg": 5})
        listing.write_text("path,label,split\na.jpg,dog,train\nb.jpg,cat,val\nc.jpg,cat,test\n")
        assert found(labelled_images(str(listing), CIFAR10), root) == {"c.jpg": 3}

    def test_what_is_left_out(self, folder):
        images = labelled_images(folder("cat/1.jpg", "cat/._1.jpg", "cat/a.txt", "loose.jpg"), CIFAR10)
        assert [entry.kind for entry in images.left_out] == ["hidden", "ending .txt", "beside the class folders"]

    def test_a_model_that_was_trained_on_folders_of_wordnet_ids(self, folder):
        """Its labels are ImageNet's names; the folders are those that it was trained on."""
        images = labelled_images(folder("n07920052/1.jpg", "n01440764/1.jpg"), ("tench", "espresso"))
        assert (images.rule, [label for _, label in images.items]) == ("wnid", [0, 1])

    def test_numbers_that_are_labels_and_places(self, folder):
        with pytest.raises(
            DatasetError, match=r"the folders '0', '1', '2' are numbers, and so are labels of the model, such as '1'"
        ):
            labelled_images(folder("0/1.jpg", "1/1.jpg", "2/1.jpg"), ("1", "2", "3"))


class TestNothingThere:
    def test_no_folder(self, tmp_path):
        with pytest.raises(DatasetError, match="nosuch is not a folder; expected one with a sub-folder for each class"):
            labelled_images(tmp_path / "nosuch", CIFAR10)

    def test_a_file(self, folder):
        with pytest.raises(DatasetError, match="is not a folder"):
            labelled_images(folder("a.jpg") / "a.jpg", CIFAR10)

    def test_no_class_folders(self, folder):
        with pytest.raises(DatasetError, match="has no sub-folders; expected one for each class, with images in it"):
            labelled_images(folder("1.jpg"), CIFAR10)

    def test_no_images(self, folder):
        with pytest.raises(DatasetError, match=r"has 2 class folders and no image in them; known endings: \['\.apng', "):
            labelled_images(folder("cat/notes.txt", "dog/notes.txt"), CIFAR10)
