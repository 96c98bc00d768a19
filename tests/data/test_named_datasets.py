"""Data sets by name: who is in which part, and that images are prepared as the service prepares them."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from hubserve.cards.labels import imagenet_wnids
from hubserve.data.augmentation import CropAndFlip
from hubserve.data.splits import stratified
from hubserve.errors import DatasetError
from hubserve.evaluator import load_dataset
from hubserve.preprocess import decode_pixels


def targets(data):
    return [int(data[i][1]) for i in range(len(data))]


def test_digits_are_divided_evenly_and_always_alike():
    data = load_dataset("digits", size=8)
    assert [len(part) for part in (data.train, data.val, data.test)] == [1078, 360, 359]
    for part in (data.train, data.val, data.test):
        shares = [count / len(part) for count in Counter(part.targets.tolist()).values()]
        assert len(shares) == 10
        assert 0.09 < min(shares) <= max(shares) < 0.11
    again = load_dataset("digits", size=8)
    assert torch.equal(data.val.pixels, again.val.pixels)
    assert not torch.equal(data.val.targets, load_dataset("digits", size=8, seed=1).val.targets)
    # Nobody is in two parts.
    rows = torch.cat([part.pixels.flatten(1) for part in (data.train, data.val, data.test)])
    assert len({bytes(row.numpy()) for row in rows}) == len(rows) == 1797


def test_a_digit_is_trained_as_it_is_served():
    data = load_dataset("digits", size=24, augment=False)
    plain = load_dataset("digits", size=8, augment=False)
    for index in (0, 100):
        image = Image.fromarray(plain.val.pixels[index].permute(1, 2, 0).numpy())
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        served = torch.from_numpy(data.preprocess.fast(decode_pixels(buffer.getvalue())))
        # The rounding to whole pixel values is 1/2 of 255, over the deviation.
        assert torch.allclose(served, data.val[index][0], atol=0.5 / 255 / 0.5 + 1e-6)
        assert served.shape == (3, 24, 24)


def test_batches_are_what_single_images_are():
    data = load_dataset("digits", size=8, augment=False)
    inputs, labels = next(iter(DataLoader(data.train, 5)))
    assert torch.equal(inputs, torch.stack([data.train[i][0] for i in range(5)]))
    assert labels.tolist() == [int(data.train[i][1]) for i in range(5)]


def test_crops_are_windows_of_the_padded_image():
    torch.manual_seed(0)
    pixels = torch.randint(1, 256, (40, 3, 6, 6), dtype=torch.uint8)
    changed = CropAndFlip(padding=2)(pixels)
    padded = torch.nn.functional.pad(pixels, [2] * 4)
    seen = set()
    for before, after in zip(padded, changed, strict=True):
        windows = {
            (top, left, flip): (window.flip(2) if flip else window)
            for top in range(5)
            for left in range(5)
            for flip in (False, True)
            for window in (before[:, top : top + 6, left : left + 6],)
        }
        found = [key for key, window in windows.items() if torch.equal(window, after)]
        assert len(found) == 1
        seen.add(found[0])
    assert len({key[:2] for key in seen}) > 12
    assert {key[2] for key in seen} == {False, True}
    assert not any(torch.equal(a, b.flip(2)) for a, b in zip(pixels, CropAndFlip(0, flip=False)(pixels), strict=True))


def test_parts_hold_their_share_of_each_class():
    labels = [0] * 10 + [1] * 30
    parts = stratified(labels, (0.5, 0.2), seed=3)
    assert sorted(index for part in parts for index in part) == list(range(40))
    assert [Counter(labels[index] for index in part) for part in parts] == [
        Counter({0: 5, 1: 15}),
        Counter({0: 2, 1: 6}),
        Counter({0: 3, 1: 9}),
    ]


def images(root, counts, size=(40, 36)):
    """`root/PART/CLASS/n.png`, each of one colour that tells part and number."""
    for (part, name), count in counts.items():
        folder = root / part / name
        folder.mkdir(parents=True)
        for n in range(count):
            Image.new("RGB", size, (10 * n, len(part), len(name))).save(folder / f"{n}.png")
    return root


def test_cifar_in_class_folders(tmp_path):
    counts = {("train", "cat"): 10, ("train", "dog"): 10, ("test", "cat"): 4, ("test", "dog"): 4}
    data = load_dataset("cifar10", images(tmp_path, counts, size=(32, 32)))
    assert data.labels == ("cat", "dog")
    assert [len(part) for part in (data.train, data.val, data.test)] == [18, 2, 8]
    assert Counter(targets(data.val)) == {0: 1, 1: 1}
    image = Image.open(tmp_path / "test" / "cat" / "2.png")
    assert torch.allclose(data.test[2][0], torch.from_numpy(data.preprocess.reference(image)), atol=1e-6)
    assert len(load_dataset("cifar10", tmp_path, limit=4).test) == 4


def test_cifar_as_it_was_published(tmp_path, monkeypatch):
    """Files in the published layout, with fewer images; torchvision checks their sums, which are of the real ones."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = {}
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        rows[name] = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
        entry = {"data": rows[name], "labels": [i % 10 for i in range(20)]}
        (folder / name).write_bytes(pickle.dumps(entry))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class {i}" for i in range(10)]}))
    with pytest.raises(DatasetError, match=r"neither train/ and test/.*nor the published files"):
        load_dataset("cifar10", tmp_path)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *args: True)
    data = load_dataset("cifar10", tmp_path, val_share=0.2)
    assert [len(part) for part in (data.train, data.val, data.test)] == [80, 20, 20]
    assert torch.equal(data.test.pixels[3].flatten(), torch.from_numpy(rows["test_batch"][3]))
    assert data.labels[3] == "class 3"


@pytest.mark.parametrize("second", ["val", "test"])
def test_two_folders_leave_validation_to_the_training_part(tmp_path, second):
    counts = {("train", "a"): 10, ("train", "b"): 10, (second, "a"): 3, (second, "b"): 3}
    data = load_dataset("folder", images(tmp_path, counts), size=16)
    assert [len(part) for part in (data.train, data.val, data.test)] == [18, 2, 6]
    assert all(second in str(path) for path, _ in data.test.items)
    assert not {path for path, _ in data.val.items} & {path for path, _ in data.train.items}


def test_three_folders_are_the_parts(tmp_path):
    counts = {(part, name): 2 for part in ("train", "val", "test") for name in "ab"}
    data = load_dataset("folder", images(tmp_path, counts), size=16)
    assert [{path.parts[-3] for path, _ in part.items} for part in (data.train, data.val, data.test)] == [
        {"train"},
        {"val"},
        {"test"},
    ]


def test_class_folders_alone_are_divided(tmp_path):
    data = load_dataset("folder", images(tmp_path, {("", "a"): 10, ("", "b"): 20}), size=16, val_share=0.2)
    assert [Counter(targets(part)) for part in (data.train, data.val, data.test)] == [
        {0: 6, 1: 12},
        {0: 2, 1: 4},
        {0: 2, 1: 4},
    ]


def test_images_of_folders_are_prepared_as_served(tmp_path):
    root = images(tmp_path, {("", "a"): 10, ("", "b"): 10}, size=(50, 30))
    data = load_dataset("folder", root, size=16, resize=20)
    path, label = data.val.items[0]
    inputs, target = data.val[0]
    assert np.array_equal(inputs.numpy(), data.preprocess.fast(decode_pixels(path.read_bytes())))
    assert (target, data.preprocess.resize) == (label, 20)
    torch.manual_seed(0)
    assert data.train[0][0].shape == (3, 16, 16)
    batch, _ = next(iter(DataLoader(data.train, 4)))
    assert batch.shape == (4, 3, 16, 16)


def test_wordnet_ids_become_words(tmp_path):
    first, last = imagenet_wnids()[0], imagenet_wnids()[-1]
    data = load_dataset("folder", images(tmp_path, {("", last): 6, ("", first): 6}), size=16)
    assert data.labels[0].startswith("tench")
    assert len(data.labels) == 2


def test_errors_name_what_is_wrong(tmp_path):
    for call, message in {
        lambda: load_dataset("digit"): "no data set 'digit'. Did you mean digits",
        lambda: load_dataset("digits", sizes=8): "no setting 'sizes'. Did you mean size",
        lambda: load_dataset("digits", tmp_path): "come with scikit-learn",
        lambda: load_dataset("digits", size=0): "'digits': size = 0: Input should be greater than 0",
        lambda: load_dataset("digits", seed="one"): "'digits': seed = 'one': Input should be a valid integer",
        lambda: load_dataset("cifar10"): "needs its folder",
        lambda: load_dataset("cifar10", tmp_path, limit=0): "limit = 0: Input should be greater than 0",
        lambda: load_dataset("folder", tmp_path / "none"): "needs its folder",
        lambda: load_dataset("folder", tmp_path): "has no sub-folders",
    }.items():
        with pytest.raises(DatasetError, match=message):
            call()
    counts = {("train", "a"): 4, ("train", "b"): 4, ("val", "a"): 1, ("val", "c"): 1}
    root = images(tmp_path / "other", counts)
    with pytest.raises(DatasetError, match="a folder 'c'"):
        load_dataset("folder", root)
    for share in (0.0, 0.5, 1.0):
        with pytest.raises(DatasetError, match=rf"'folder': val_share = {share}: Input should be"):
            load_dataset("folder", root, val_share=share)
    with pytest.raises(DatasetError, match="'folder': Value error, resize = 20 is below input_size = 32"):
        load_dataset("folder", images(tmp_path / "small", {("", "a"): 5}), size=32, resize=20)
    (tmp_path / "alone" / "train" / "a").mkdir(parents=True)
    with pytest.raises(DatasetError, match="1 class folders and no image in them"):
        load_dataset("folder", tmp_path / "alone")
    broken = images(tmp_path / "broken", {("", "a"): 9, ("", "b"): 9})
    (broken / "a" / "0.png").write_bytes(b"no image")
    data = load_dataset("folder", broken, size=16)
    assert [entry.file for entry in data.scan.left_out] == ["a/0.png"]
    for path in broken.glob("a/*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"a/\d.png.*take it out"):
        [part[i] for part in (data.train, data.val, data.test) for i in range(len(part))]


def test_real_cifar_images(shared, tmp_path):
    """The first images of the packed JPEGs; 50,000 of them take too long here."""
    with tarfile.open(shared / "data" / "cifar10-jpeg.tar.xz") as archive:
        for member in archive:
            if member.isfile() and int(member.name[-8:-4]) < 3 and member.name.startswith("train/"):
                archive.extract(member, tmp_path, filter="data")
            if member.name.startswith("train/automobile/") and int(member.name[-8:-4] or 0 if member.isfile() else 0) > 5:
                break
    for part in (tmp_path / "train").iterdir():
        (tmp_path / "test" / part.name).mkdir(parents=True)
        (part / "0000.jpg").rename(tmp_path / "test" / part.name / "0000.jpg")
    data = load_dataset("cifar10", tmp_path, val_share=0.49)
    assert data.labels == ("airplane", "automobile")
    assert [len(part) for part in (data.train, data.val, data.test)] == [2, 2, 2]
    assert data.train.pixels.float().std() > 20


OWN = """
import torch
from torch.utils.data import TensorDataset

from hubserve.data.labelled_data import LabelledData
from hubserve.preprocess import Preprocess

SHAPES = Preprocess(input_size=8, resize=8)


def items(count):
    return TensorDataset(torch.zeros(count, 3, 8, 8), torch.zeros(count, dtype=torch.int64))


def made(*, labels=("cat", "dog"), train: int = 4, val: int = 2, test: int = 2):
    return LabelledData("made", items(train), items(val), items(test), tuple(labels), SHAPES)


def as_a_dict():
    return {"train": items(1)}


def failing(*, size: int = 8):
    raise KeyError("images")
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_named_data.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield "own_named_data"


def test_data_of_ones_own(own):
    data = load_dataset(f"{own}:made", train="6", labels=["a", "b", "c"])
    assert (len(data.train), data.labels) == (6, ("a", "b", "c"))
    assert len(load_dataset(f"{own}:made", test=0).test) == 0  # It is trained without a test accuracy.


@pytest.mark.parametrize(
    ("function", "settings", "message"),
    [
        ("made", {"train": 0}, r"own_named_data:made returned no item in the part 'train'"),
        ("made", {"val": 0}, r"own_named_data:made returned no item in the part 'val'"),
        ("made", {"train": "six"}, r"own_named_data:made': train = 'six': Input should be a valid integer"),
        ("made", {"trian": 6}, r"no setting 'trian'\. Did you mean train"),
        ("made", {"labels": ["cat", "d\nog"]}, r"own_named_data:made.*line break"),
        ("made", {"labels": ["cat", "d\rog"]}, r"own_named_data:made.*line break"),
        ("made", {"labels": ["cat", ""]}, r"own_named_data:made"),
        ("made", {"labels": ["cat", "cat"]}, r"own_named_data:made.*cat"),
        ("as_a_dict", {}, r"own_named_data:as_a_dict returned a dict; it must return a hubserve\.data"),
        ("failing", {}, r"own_named_data:failing raised KeyError: 'images'"),
        ("mad", {}, r"Did you mean made"),
        ("SHAPES", {}, r"is a Preprocess, and a data set is a function"),
    ],
)
def test_data_of_ones_own_that_cannot_be_used(own, function, settings, message):
    with pytest.raises(DatasetError, match=message):
        load_dataset(f"{own}:{function}", **settings)
