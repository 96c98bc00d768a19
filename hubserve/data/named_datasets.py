"""Data sets by name: pictures in a training, a validation and a test part, with the preprocessing to serve them with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import datasets as torchvision_datasets

from hubserve.cards.labels import imagenet_wnids, labels
from hubserve.data.augmentation import CropAndFlip
from hubserve.data.digits import LABELS, digits_data
from hubserve.data.file_dataset import FileDataset, Item, class_folders, class_items, in_memory
from hubserve.data.in_memory_dataset import InMemoryDataset
from hubserve.data.splits import stratified
from hubserve.errors import DatasetError, suggest
from hubserve.preprocess import Preprocess


@dataclass(frozen=True)
class LabelledData:
    """A data set; it may be given to an evaluator as `datamodule`.

    Attributes:
        name: as it was asked for.
        train: to learn from, augmented.
        val: drives a search.
        test: nobody looks at before the end.
        labels: names of the classes.
        preprocess: of all three parts; a package of a network trained on them carries it.
    """

    name: str
    train: Dataset[Any]
    val: Dataset[Any]
    test: Dataset[Any]
    labels: tuple[str, ...]
    preprocess: Preprocess

    def train_dataloader(self) -> Dataset[Any]:
        """The training part, as a data module gives it."""
        return self.train

    def val_dataloader(self) -> Dataset[Any]:
        """The validation part."""
        return self.val


def load_dataset(name: str, folder: Path | str | None = None, **settings: Any) -> LabelledData:
    """The data set of that name; nothing is downloaded.

    Args:
        name: "digits", "cifar10", "cifar100" or "folder".
        folder: where the files lie; digits have none.
        settings: of the data set: see `digits`, `cifar` and `folder`.

    Raises:
        DatasetError: unknown name or setting, or the files are not as expected.

    >>> data = load_dataset("digits", size=32)
    >>> Classification(datamodule=data, num_classes=len(data.labels), max_epochs=3)
    """
    if name not in DATASETS:
        raise DatasetError(f"no data set {name!r}. {suggest(name, DATASETS)}")
    make, known = DATASETS[name]
    for setting in settings:
        if setting not in known:
            raise DatasetError(f"the data set {name!r} has no setting {setting!r}. {suggest(setting, known)}")
    if name == "digits":
        if folder is not None:
            raise DatasetError(f"digits come with scikit-learn, and folder = {folder} is given; leave it out")
        return make(**settings)
    if folder is None or not Path(folder).is_dir():
        raise DatasetError(f"the data set {name!r} needs its folder, and {folder} is none; it is never downloaded")
    return make(Path(folder), **settings)


def digits(size: int = 32, *, seed: int = 0, augment: bool = True) -> LabelledData:
    """scikit-learn's 1,797 handwritten digits: 60 % to learn from, 20 % to validate, 20 % to test, each class alike.

    Args:
        size: pixels of a side.
        seed: of who is in which part.
        augment: move the training pictures by up to a sixteenth of their size.
    """
    everything = digits_data(size)
    train, val, test = stratified(everything.targets.tolist(), (0.6, 0.2), seed=seed)
    moved = CropAndFlip(padding=size // 16, flip=False) if augment else None
    return LabelledData(
        "digits",
        everything.part(train, augment=moved),
        everything.part(val),
        everything.part(test),
        LABELS,
        everything.preprocess,
    )


def cifar(
    name: str, folder: Path, *, seed: int = 0, augment: bool = True, val_share: float = 0.1, limit: int | None = None
) -> LabelledData:
    """CIFAR-10 or CIFAR-100: 50,000 pictures to learn from, of which some validate, and 10,000 to test.

    Args:
        name: "cifar10" or "cifar100".
        folder: with train/CLASS/ and test/CLASS/ of picture files, or the published files as torchvision keeps them.
        seed: of who validates.
        augment: shift and mirror the training pictures.
        val_share: of the training pictures that validate, in (0, 1).
        limit: pictures of each of the two published parts that are used, of each class alike; all unless given.
    """
    preprocess = Preprocess(input_size=32, resize=32, **CIFAR_STATISTICS[name])
    load = _cifar_folders if (folder / "train").is_dir() else _cifar_published
    (train, test), classes = load(name, folder, preprocess, limit, seed)
    learn, validate = stratified(train.targets.tolist(), (1 - _share(val_share),), seed=seed)
    augmented = CropAndFlip() if augment else None
    return LabelledData(name, train.part(learn, augment=augmented), train.part(validate), test, classes, preprocess)


def folder(
    root: Path,
    *,
    size: int = 224,
    resize: int | None = None,
    seed: int = 0,
    augment: bool = True,
    val_share: float = 0.1,
    preprocess: Preprocess | None = None,
) -> LabelledData:
    """Pictures of one's own, one folder for each class; ImageNet's layout too.

    With train/ and val/ and test/ these are the parts. With train/ and val/ alone (ImageNet) or train/ and test/ alone, the
    second one tests, and a share of train/ validates. With class folders alone, a share validates and another one tests.

    Args:
        root: of the layout.
        size: pixels of a side that the network sees.
        resize: the shorter side before the crop; 8/7 of the size unless given, as 256 is of 224.
        seed: of who is in which part.
        augment: see FileDataset.
        val_share: of the training pictures that validate, in (0, 1).
        preprocess: all of it, in place of size and resize; mean and deviation are ImageNet's otherwise.
    """
    record = preprocess or Preprocess(input_size=size, resize=resize or round(size * 8 / 7))
    train, val, test, classes = _folder_parts(root, _share(val_share), seed)
    return LabelledData(
        "folder",
        FileDataset(train, record, augment=augment),
        FileDataset(val, record),
        FileDataset(test, record),
        _label_names(classes),
        record,
    )


CIFAR_STATISTICS: dict[str, dict[str, Any]] = {
    "cifar10": {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616)},
    "cifar100": {"mean": (0.5071, 0.4865, 0.4409), "std": (0.2673, 0.2564, 0.2762)},
}
"""Of the training pictures, in [0, 1]."""

DATASETS: dict[str, tuple[Callable[..., LabelledData], tuple[str, ...]]] = {
    "digits": (digits, ("size", "seed", "augment")),
    "cifar10": (lambda root, **s: cifar("cifar10", root, **s), ("seed", "augment", "val_share", "limit")),
    "cifar100": (lambda root, **s: cifar("cifar100", root, **s), ("seed", "augment", "val_share", "limit")),
    "folder": (folder, ("size", "resize", "seed", "augment", "val_share", "preprocess")),
}
"""Name -> how it is had, and its settings."""

_Loaded = tuple[tuple[InMemoryDataset, InMemoryDataset], tuple[str, ...]]


def _cifar_folders(name: str, root: Path, preprocess: Preprocess, limit: int | None, seed: int) -> _Loaded:
    classes = class_folders(root / "train")
    if not (root / "test").is_dir():
        raise DatasetError(f"{root} has train/ and no test/; {name} has both")
    parts = [_some(class_items(root / part, classes), limit, seed) for part in ("train", "test")]
    return (in_memory(parts[0], preprocess), in_memory(parts[1], preprocess)), tuple(classes)


def _cifar_published(name: str, root: Path, preprocess: Preprocess, limit: int | None, seed: int) -> _Loaded:
    published = {"cifar10": torchvision_datasets.CIFAR10, "cifar100": torchvision_datasets.CIFAR100}[name]
    try:
        parts = [published(str(root), train=train, download=False) for train in (True, False)]
    except RuntimeError as error:
        raise DatasetError(
            f"{root} has neither train/ and test/ with a folder for each class, nor the published files of {name}: {error}"
        ) from error
    made = [InMemoryDataset(_channels_first(part.data), torch.tensor(part.targets), preprocess) for part in parts]
    kept = [part.part(_some(list(range(len(part))), limit, seed, part.targets.tolist())) for part in made]
    return (kept[0], kept[1]), tuple(parts[0].classes)


def _channels_first(pictures: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))


def _some(items: list[Any], limit: int | None, seed: int, targets: Sequence[int] | None = None) -> list[Any]:
    """About `limit` of the items, of each class alike."""
    if limit is None or limit >= len(items):
        return items
    chosen, _ = stratified(targets or [label for _, label in items], (limit / len(items),), seed=seed)
    return [items[index] for index in chosen]


def _folder_parts(root: Path, val_share: float, seed: int) -> tuple[list[Item], list[Item], list[Item], list[str]]:
    there = [part for part in ("train", "val", "test") if (root / part).is_dir()]
    if not there:
        classes = class_folders(root)
        items = class_items(root, classes)
        parts = stratified([label for _, label in items], (1 - 2 * val_share, val_share), seed=seed)
        train, val, test = ([items[index] for index in part] for part in parts)
        return train, val, test, classes
    if "train" not in there or len(there) == 1:
        raise DatasetError(f"{root} has {'/, '.join(there)}/ alone; expected train/ and val/ or test/, or class folders alone")
    classes = class_folders(root / "train")
    found = {part: class_items(root / part, classes) for part in there}
    if len(found) == 3:
        return found["train"], found["val"], found["test"], classes
    learn, validate = stratified([label for _, label in found["train"]], (1 - val_share,), seed=seed)
    pick = found["train"]
    return [pick[index] for index in learn], [pick[index] for index in validate], found[there[1]], classes


def _label_names(classes: Sequence[str]) -> tuple[str, ...]:
    """The folders' names, in words where they are WordNet ids of ImageNet."""
    names = dict(zip(imagenet_wnids(), labels("imagenet-1k"), strict=True))
    return tuple(names[name] for name in classes) if all(name in names for name in classes) else tuple(classes)


def _share(share: float) -> float:
    if not 0.0 < share < 0.5:
        raise DatasetError(f"val_share = {share} must lie between 0 and 0.5")
    return share
