"""One's own images: what is used, in which part, what is left out and why, and what is refused before anything is trained."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import unicodedata
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from hubserve.data.parts import read_pinned
from hubserve.data.scan import scan
from hubserve.errors import DatasetError
from hubserve.evaluator import load_dataset
from tests.data.made_folders import make
from tests.images import encoded, noise

TWO = {"cat": 10, "dog": 10}


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path_factory.mktemp("home")))


def sizes(found):
    return {part: sum(counts) for part, counts in found.counts.items()}


def kinds(found):
    return Counter(entry.kind for entry in found.left_out)


class TestParts:
    def test_class_folders_alone_are_drawn(self, tmp_path):
        found = scan(make(tmp_path, {"cat": 10, "dog": 20}), val_share=0.2)
        assert (found.classes, found.how) == (("cat", "dog"), "drawn")
        assert found.counts == {"train": [6, 12], "val": [2, 4], "test": [2, 4]}
        assert found.left_out == () == found.notes
        again = scan(tmp_path, val_share=0.2)
        assert again.images == found.images
        assert scan(tmp_path, val_share=0.2, seed=1).items("test") != found.items("test")

    @pytest.mark.parametrize(
        ("train", "val", "test"),
        [("train", "val", "test"), ("Train", "Valid", "Test"), ("training", "validation", "testing"), ("TRAIN", "dev", "test")],
    )
    def test_names_of_parts(self, tmp_path, train, val, test):
        counts = {f"{part}/{name}": 3 for part in (train, val, test) for name in TWO}
        found = scan(make(tmp_path, counts))
        assert (sizes(found), found.how) == ({"train": 6, "val": 6, "test": 6}, "given")
        for name, part in ((train, "train"), (val, "val"), (test, "test")):
            assert (f"{name}/ is taken as the {part} part" in found.notes) == (name != part)
            assert all(path.relative_to(tmp_path).parts[0] == name for path, _ in found.items(part))

    def test_without_test_the_validation_part_tests(self, tmp_path):
        found = scan(make(tmp_path, {"train/cat": 10, "train/dog": 10, "valid/cat": 2, "valid/dog": 2}))
        assert (sizes(found), found.how) == ({"train": 18, "val": 2, "test": 4}, "partly drawn")
        assert any("the validation part tests" in note for note in found.notes)

    def test_a_training_part_alone_is_divided(self, tmp_path):
        found = scan(make(tmp_path, {"train/cat": 10, "train/dog": 10}))
        assert sizes(found) == {"train": 16, "val": 2, "test": 2}
        assert any("a training part alone" in note for note in found.notes)

    def test_small_classes_are_in_every_part(self, tmp_path):
        found = scan(make(tmp_path, {"ant": 9, "cat": 30, "dog": 5, "owl": 3, "rare": 2, "single": 1}))
        assert [list(row) for row in zip(*found.counts.values(), strict=True)] == [
            [7, 1, 1], [24, 3, 3], [3, 1, 1], [1, 1, 1], [1, 0, 1], [1, 0, 0],
        ]  # fmt: skip
        assert any("2 classes have fewer than 3 different images" in note for note in found.notes)

    def test_too_few_images_to_divide(self, tmp_path):
        with pytest.raises(DatasetError, match="3 of 3 classes have fewer than 5 different images"):
            scan(make(tmp_path, {"a": 4, "b": 4, "c": 4}))

    def test_a_class_may_have_the_name_of_a_part(self, tmp_path):
        found = scan(make(tmp_path, {"bus": 10, "car": 10, "train": 10}))
        assert found.classes == ("bus", "car", "train")
        assert "train/ holds images directly, so it is taken as a class" in found.notes

    def test_a_test_part_without_classes_is_left_out(self, tmp_path):
        """As competitions publish it."""
        found = scan(make(tmp_path, {"train/cat": 20, "train/dog": 20, "test": 7}))
        assert kinds(found) == {"without a class": 7}
        assert sizes(found) == {"train": 32, "val": 4, "test": 4}

    def test_folders_within_classes(self, tmp_path):
        """Days or cameras, the same in every class."""
        counts = {f"{name}/{day}": 4 for name in ("ant", "bee", "cat") for day in ("monday", "tuesday")}
        found = scan(make(tmp_path, counts))
        assert found.classes == ("ant", "bee", "cat")
        assert any("ant/, bee/, cat/ are taken as the classes" in note for note in found.notes)

    def test_classes_that_differ_by_case_alone(self, tmp_path):
        found = scan(make(tmp_path, {"Cat": 10, "cat": 10, "dog": 10}))
        assert found.classes == ("Cat", "cat", "dog")
        assert any("differ only in the case of letters: Cat, cat" in note for note in found.notes)

    def test_what_lies_beside_the_parts_is_counted(self, tmp_path):
        root = make(tmp_path, {"train/cat": 6, "train/dog": 6, "test/cat": 2, "test/dog": 2, "extra/cat": 3})
        (root / "labels.csv").write_text("path,label\n")
        found = scan(root)
        assert kinds(found) == {"beside the parts": 3, "ending .csv": 1}
        assert sizes(found)["test"] == 4


class TestRefused:
    @pytest.mark.parametrize(
        ("counts", "message"),
        [
            ({"only": 9}, "has the one class 'only', and a classifier needs at least two"),
            ({"cat": 9, "dog": 9, "empty": 0}, "no image in the class folders empty/"),
            (
                {"data/cat": 9, "data/dog": 9},
                "in the one folder data/ alone, which holds the folders cat/, dog/.*one level too high",
            ),
            ({"flowers/train/a": 2, "flowers/val/a": 2}, "one level too high"),
            ({"one/cat": 5, "one/dog": 5, "two/cat": 5, "two/dog": 5}, "each of the folders one/, two/ holds no image but"),
            ({"train/cat": 3, "Train/dog": 3}, "Train/ and train/, and both names mean the train part"),
            ({"train/a": 3, "train/b": 3, "val/a": 3, "valid/b": 3}, "val/ and valid/, and both names mean the val part"),
            ({"test/a": 5, "test/b": 5, "control": 5}, "has test/ beside control/; expected train/ with val/ or test/"),
            (
                {"cat/train": 5, "cat/test": 5, "dog/train": 5, "dog/test": 5},
                "each of the folders cat/, dog/ holds no image but the",
            ),
            (
                {"train/cat": 9, "train/dog": 9, "test/cat": 2, "test/dogs": 2},
                "a folder 'dogs', which is none.*Did you mean dog",
            ),
        ],
    )
    def test_layouts(self, tmp_path, counts, message):
        with pytest.raises(DatasetError, match=message):
            scan(make(tmp_path, counts))

    def test_a_class_folder_itself(self, tmp_path):
        make(tmp_path, TWO)
        with pytest.raises(DatasetError, match="has 10 images directly in it: name the folder above it"):
            scan(tmp_path / "cat")

    def test_a_file(self, tmp_path):
        (tmp_path / "flowers.zip").write_bytes(b"PK")
        with pytest.raises(DatasetError, match=r"flowers.zip is a file; expected a folder.*unpack an archive first"):
            scan(tmp_path / "flowers.zip")

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            (b"caf\xe9", r"b'caf\\xe9' is not UTF-8"),
            (b"red\nfruit", r"'red\\nfruit' has a line break"),
            ("red\u2028fruit".encode(), "has a line break"),
            (b"tab\there", "another control character"),
        ],
    )
    def test_names_that_no_label_can_have(self, tmp_path, name, message):
        make(tmp_path, TWO)
        shutil.copytree(tmp_path / "cat", os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))
        with pytest.raises(DatasetError, match=message):
            scan(tmp_path)

    def test_names_that_differ_by_the_encoding_of_accents(self, tmp_path):
        for form in ("NFC", "NFD"):
            make(tmp_path, {unicodedata.normalize(form, "café"): 5, "tea": 5}, first=100)
        with pytest.raises(DatasetError, match=r"two classes are called 'café', once as 'cafe\\u0301'.*'caf\\xe9'"):
            scan(tmp_path)

    def test_no_image_that_can_be_read(self, tmp_path):
        root = make(tmp_path, TWO)
        for path in (root / "dog").iterdir():
            path.write_bytes(b"no image")
        with pytest.raises(
            DatasetError, match=r"1 of 2 classes have no image left to train on: 'dog'.*10 unreadable \(dog/000.png"
        ):
            scan(root)


def test_accents_may_be_encoded_differently_in_the_parts(tmp_path):
    nfc, nfd = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    found = scan(make(tmp_path, {f"train/{nfc}": 9, "train/tea": 9, f"test/{nfd}": 2, "test/tea": 2}))
    assert found.classes == (nfc, "tea")
    assert found.counts["test"] == [2, 2]


def bad_files(root):
    """One file of each kind; returns those that are used all the same, and those that are not."""
    red, rgb = root / "red", Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    whole = encoded(rgb, "JPEG")
    used = {
        "16-bit.png": encoded(Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30) * 70)),
        "cmyk.jpg": encoded(rgb.convert("CMYK"), "JPEG"),
        "palette.png": encoded(rgb.convert("P")),
        "capital.JPEG": encoded(rgb.rotate(90), "JPEG"),
        "browser.jfif": encoded(rgb.rotate(180), "JPEG"),
        "transparent.png": encoded(rgb.convert("RGBA")),
        "float.tif": encoded(Image.fromarray(np.random.default_rng(2).random((20, 20), dtype=np.float32)), "TIFF"),
    }
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    rgb.save(buffer, "JPEG", exif=exif)
    used["rotated.jpg"] = buffer.getvalue()
    buffer = io.BytesIO()
    rgb.save(buffer, "GIF", save_all=True, append_images=[rgb.rotate(90)])
    used["moving.gif"] = buffer.getvalue()
    used[os.fsdecode(b"latin-\xe9.png")] = noise(20, seed=7001)
    used["line\nbreak.png"] = noise(20, seed=7002)
    left = {
        "truncated.jpg": whole[: len(whole) // 2],
        "empty.jpg": b"",
        "text.jpg": b"not an image",
        "._000.png": bytes(range(256)),
        ".hidden.png": noise(20, seed=7003),
        "Thumbs.db": b"x",
        "photo.HEIC": b"x",
        "notes.txt": b"x",
        "none": b"x",
        "@eaDir/000.png/thumb.jpg": whole,
        "__MACOSX/000.png": whole,
        "lost+found/000.png": whole,
        ".ipynb_checkpoints/000.png": whole,
    }
    for name, data in {**used, **left}.items():
        (red / name).parent.mkdir(parents=True, exist_ok=True)
        (red / name).write_bytes(data)
    (red / "dangling.jpg").symlink_to(root / "nowhere.jpg")
    os.mkfifo(red / "pipe.jpg")
    (red / "loop").symlink_to(red)
    (root / "loose.jpg").write_bytes(whole)
    return used, left


def test_every_kind_of_bad_file_at_once(tmp_path):
    root = make(tmp_path / "data", {"red": 12, "green": 12, "blue": 12})
    used, _ = bad_files(root)
    elsewhere = make(tmp_path / "disk", {"more": 6}, first=500) / "more"
    (root / "linked").symlink_to(elsewhere)
    found = scan(root)
    assert found.classes == ("blue", "green", "linked", "red")
    assert sum(sizes(found).values()) == 3 * 12 + 6 + len(used)
    assert {image.path.name for image in found.images if image.label == 3} == {*used, *(f"{n:03d}.png" for n in range(12))}
    assert kinds(found) == {
        "unreadable": 2, "an empty file": 1, "hidden": 7, "ending .heic": 1, "ending .txt": 1, "without a usual ending": 1,
        "link to nothing": 1, "not a regular file": 1, "link to a folder that is read already": 1,
        "beside the class folders": 1,
    }  # fmt: skip
    summary = json.loads(json.dumps(found.summary()))
    assert summary["kinds"] == {
        "grey": 2, "16-bit": 1, "CMYK": 1, "palette": 2, "transparent": 1, "floating point": 1, "rotated": 1, "animated": 1,
    }  # fmt: skip
    assert summary["endings"][".jfif"] == 1
    reasons = {entry["file"]: entry["detail"] for entry in summary["files_left_out"]}
    assert "truncated" in reasons["red/truncated.jpg"]
    (note,) = found.notes
    assert note.startswith("17 files are left out: ")
    assert "red/truncated.jpg" in note
    rotated = next(image for image in found.images if image.path.name == "rotated.jpg")
    assert (rotated.check.width, rotated.check.height) == (40, 30)
    # Each of them is then read by the code that serves.
    data = load_dataset("folder", root, size=16)
    assert sum(len([part[i] for i in range(len(part))]) for part in (data.train, data.val, data.test)) == len(found.images)
    assert data.scan.images == found.images


class TestEqualImages:
    def test_those_of_the_test_part_are_not_trained_on(self, tmp_path):
        root = make(tmp_path, {f"{part}/{name}": 6 for part in ("train", "val", "test") for name in TWO})
        shutil.copy(root / "test/cat/000.png", root / "train/cat/copy.png")
        shutil.copy(root / "test/cat/001.png", root / "val/dog/copy.png")
        shutil.copy(root / "val/dog/002.png", root / "train/dog/copy.png")
        found = scan(root)
        assert sizes(found) == {"train": 12, "val": 12, "test": 12}
        assert [tuple(entry) for entry in found.left_out] == [
            ("train/cat/copy.png", "equal to an image of the test part", "test/cat/000.png"),
            ("train/dog/copy.png", "equal to an image of the val part", "val/dog/002.png"),
            ("val/dog/copy.png", "equal to an image of the test part", "test/cat/001.png"),
        ]

    def test_a_test_part_that_is_the_training_part(self, tmp_path):
        root = make(tmp_path, {f"train/{name}": 6 for name in TWO})
        shutil.copytree(root / "train", root / "test")
        with pytest.raises(
            DatasetError, match=r"2 of 2 classes have no image left to train on.*equal to an image of the test part"
        ):
            scan(root)

    def test_a_draw_keeps_them_together(self, tmp_path):
        root = make(tmp_path, {"cat": 20, "dog": 20})
        for number in range(20):
            shutil.copy(root / f"cat/{number:03d}.png", root / f"cat/copy {number}.png")
        found = scan(root, seed=3)
        parts = Counter((image.check.sha256, image.part) for image in found.images if image.label == 0)
        assert set(parts.values()) == {2}
        assert any(
            note.startswith("20 images are copies of another one of their class: cat/000.png = cat/copy 0.png")
            for note in found.notes
        )

    def test_those_in_two_classes_are_named(self, tmp_path):
        root = make(tmp_path, TWO)
        shutil.copy(root / "cat/004.png", root / "dog/copy.png")
        found = scan(root)
        assert any("1 images are in two classes" in note and "cat/004.png = dog/copy.png" in note for note in found.notes)
        assert len({image.part for image in found.images if image.file in ("cat/004.png", "dog/copy.png")}) == 1


class TestPinned:
    def test_a_run_keeps_its_parts(self, tmp_path):
        root = make(tmp_path / "data", {"cat": 20, "dog": 20})
        (root / "cat" / os.fsdecode(b"\xff.png")).write_bytes(noise(12, seed=900))
        first = scan(root)
        first.pinned().write(tmp_path / "parts.json")
        pinned = read_pinned(tmp_path / "parts.json")
        assert pinned == first.pinned()
        assert scan(root, pinned=pinned).images == first.images
        # Whatever else the draw would have given: now with files that came, went and changed.
        make(root, {"cat/new": 5}, first=950)
        tested, trained = first.items("test")[0][0], first.items("train")[0][0]
        tested.unlink()
        trained.write_bytes(noise(12, seed=990))
        found = scan(root, pinned=pinned, seed=99)
        before = {image.file: image.part for image in first.images}
        assert all(before[image.file] == image.part for image in found.images)
        assert len(found.images) == len(first.images) - 2
        assert kinds(found) == {"new": 5, "changed": 1, "gone or unreadable": 1}
        assert any("the data have changed since the run began" in note for note in found.notes)

    def test_other_classes_are_refused(self, tmp_path):
        pinned = scan(make(tmp_path, {"cat": 9, "dog": 9})).pinned()
        make(tmp_path, {"emu": 9}, first=500)
        with pytest.raises(DatasetError, match="the classes are not those with which this run began; these came or went: emu"):
            scan(tmp_path, pinned=pinned)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "files": [[1]]}', "\xff"])
    def test_a_record_that_cannot_be_read(self, tmp_path, text):
        (tmp_path / "parts.json").write_text(text, "latin-1")
        with pytest.raises(DatasetError, match="which pins each image to its part, cannot be read"):
            read_pinned(tmp_path / "parts.json")

    def test_no_record(self, tmp_path):
        assert read_pinned(tmp_path / "parts.json") is None


def test_headers_alone(tmp_path):
    root = make(tmp_path, {"cat": 12, "dog": 12})
    (root / "dog/000.png").write_bytes(noise(300, seed=5)[:60_000])  # Truncated, which its header does not show.
    shutil.copy(root / "cat/001.png", root / "cat/copy.png")
    (root / "dog/text.png").write_bytes(b"no image at all")
    found = scan(root, check="headers")
    assert not found.decoded
    assert kinds(found) == {"unreadable": 1}
    assert any("only the headers of the 26 files were read; check=all" in note for note in found.notes)
    assert any("cat/001.png = cat/copy.png" in note for note in found.notes)
    assert found.images[0].check.width == 12
    assert kinds(scan(root, check="all")) == {"unreadable": 2}


def test_a_truncated_file_that_only_a_full_check_finds(tmp_path):
    """Training says how to go on; once all files were checked, those are left out also where headers would be read."""
    root = make(tmp_path, {"cat": 12, "dog": 12})
    bad = root / "dog/000.png"
    bad.write_bytes(noise(300, seed=5)[:60_000])
    os.utime(bad, (0, 0))
    data = load_dataset("folder", root, size=16, check="headers")
    parts = {part: dict(getattr(data, part).items) for part in ("train", "val", "test")}
    part = getattr(data, next(name for name, items in parts.items() if bad in items))
    with pytest.raises(DatasetError, match=r"dog/000.png: .*let --check=all find all such files"):
        [part[index] for index in range(len(part))]
    scan(root, check="all")
    assert kinds(scan(root, check="headers")) == {"unreadable": 1}


def test_folders_that_link_to_each_other_are_read_once(tmp_path):
    """Twelve folders that all hold links to all: followed again and again, they would be 12! ways."""
    root = make(tmp_path, dict.fromkeys("abcdefghijkl", 6))
    for name in "abcdefghijkl":
        for other in "abcdefghijkl":
            (root / name / f"to {other}").symlink_to(root / other)
    found = scan(root)
    assert len(found.images) == 12 * 6
    assert kinds(found) == {"link to a folder that is read already": 144}


def test_folders_nested_deeper_than_pythons_stack(tmp_path):
    root = make(tmp_path, TWO)
    here = os.getcwd()
    try:
        os.chdir(root / "cat")
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
        with open("deep.png", "wb") as file:
            file.write(noise(12, seed=900))
    finally:
        os.chdir(here)
    try:
        assert len(scan(root).images) == 21
    finally:
        subprocess.run(["rm", "-rf", str(root)], check=True)  # Which pytest, by recursion, could not.


def test_the_hash_is_that_of_the_content(tmp_path):
    first = scan(make(tmp_path / "a", TWO))
    assert scan(make(tmp_path / "b", TWO)).sha256 == first.sha256
    assert scan(tmp_path / "b", seed=5).sha256 != first.sha256
    (tmp_path / "b/cat/000.png").write_bytes(noise(12, seed=77))
    assert scan(tmp_path / "b").sha256 != first.sha256
