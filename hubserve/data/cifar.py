"""`cifar`: loads CIFAR-10 and CIFAR-100 from class folders of image files, or from the published files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field, validate_call
from torchvision import datasets as torchvision_datasets

from hubserve.data.augmentation import CropAndFlip
from hubserve.data.file_dataset import read_into_memory
from hubserve.data.in_memory_dataset import InMemoryDataset
from hubserve.data.labelled_data import LabelledData, Share
from hubserve.data.layout import class_folders
from hubserve.data.splits import stratified
from hubserve.errors import DatasetError
from hubserve.preprocess import Preprocess

PUBLISHED = {"cifar10": torchvision_datasets.CIFAR10, "cifar100": torchvision_datasets.CIFAR100}

STATISTICS: dict[str, dict[str, Any]] = {
    "cifar10": {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616)},
    "cifar100": {"mean": (0.5071, 0.4865, 0.4409), "std": (0.2673, 0.2564, 0.2762)},
}
"""Mean and standard deviation of the red, green and blue values of all training images, for pixel values in [0, 1]."""


@validate_call
def cifar(
    name: str,
    folder: Path,
    *,
    seed: int = 0,
    augment: bool = True,
    val_share: Share = 0.1,
    limit: Annotated[int, Field(gt=0)] | None = None,
) -> LabelledData:
    """Loads CIFAR-10 or CIFAR-100 into memory: 50,000 images of 32 x 32 pixels for training and validation, 10,000 for test.

    Args:
        name: "cifar10" or "cifar100".
        folder: Folder with image files in train/CLASS/ and test/CLASS/, or with the published files as torchvision stores them.
        seed: Seed of the random draws of the validation part and of the images that `limit` keeps.
        augment: Whether to shift and mirror the training images at random.
        val_share: Share of the published training images that becomes the validation part; above 0 and below 0.5.
        limit: Approximate number of images to use of each of the two published parts, stratified by class; None uses all.

    Raises:
        DatasetError: `folder` has neither of the two layouts, or an image file cannot be read.
        pydantic.ValidationError: `val_share` or `limit` is outside its range.
    """
    preprocess = Preprocess(input_size=32, resize=32, **STATISTICS[name])
    read = _read_class_folders if (folder / "train").is_dir() else _read_published
    train, test, classes = read(name, folder, preprocess, limit, seed)
    learn, validate = stratified(train.targets.tolist(), (1 - val_share,), seed=seed)
    parts = train.part(learn, augment=CropAndFlip() if augment else None), train.part(validate), test
    return LabelledData(name, *parts, classes, preprocess)


_Read = tuple[InMemoryDataset, InMemoryDataset, tuple[str, ...]]
"""Triple of the published training part, the published test part, and the names of the classes."""


def _read_class_folders(name: str, root: Path, preprocess: Preprocess, limit: int | None, seed: int) -> _Read:
    if not (root / "test").is_dir():
        raise DatasetError(f"{root} has train/ and no test/; {name} has both")
    found = [class_folders(root / part).parts[None] for part in ("train", "test")]
    classes = {label: i for i, label in enumerate(found[0])}
    if unknown := set(found[1]) - set(classes):
        raise DatasetError(f"{root / 'test'} has a folder {min(unknown)!r}, which is none of the {len(classes)} classes")
    parts = []
    for files in found:
        items = [(path, classes[name]) for name, paths in files.items() for path in paths]
        chosen = _some([label for _, label in items], limit, seed)
        parts.append(read_into_memory([items[i] for i in chosen], preprocess))
    return parts[0], parts[1], tuple(classes)


def _read_published(name: str, root: Path, preprocess: Preprocess, limit: int | None, seed: int) -> _Read:
    try:
        parts = [PUBLISHED[name](str(root), train=train, download=False) for train in (True, False)]
    except RuntimeError as error:
        raise DatasetError(
            f"{root} has neither train/ and test/ with a folder for each class, nor the published files of {name}: {error}"
        ) from error
    found = []
    for part in parts:
        pixels = torch.from_numpy(np.ascontiguousarray(part.data.transpose(0, 3, 1, 2)))
        found.append(InMemoryDataset(pixels, torch.tensor(part.targets), preprocess).part(_some(part.targets, limit, seed)))
    return found[0], found[1], tuple(parts[0].classes)


def _some(targets: Sequence[int], limit: int | None, seed: int) -> Sequence[int]:
    """Returns the indices of about `limit` items, the same share of each class, or all indices if `limit` is None."""
    if limit is None or limit >= len(targets):
        return range(len(targets))
    return stratified(targets, (limit / len(targets),), seed=seed)[0]
