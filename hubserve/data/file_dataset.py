"""Labelled picture files, read when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms

from hubserve.data.image_folder import SUFFIXES
from hubserve.data.in_memory_dataset import InMemoryDataset, to_pixels
from hubserve.errors import DatasetError, ImageError
from hubserve.preprocess import Preprocess, decode_pixels

Item = tuple[Path, int]


class FileDataset(Dataset[tuple[Tensor, int]]):
    """Pictures on disk and their classes; each is decoded anew when it is asked for.

    Args:
        items: files with class indices.
        preprocess: of the network.
        augment: crop at random places and scales, and mirror half of them, in place of resize and centre crop (Szegedy et
            al. 2015).
    """

    def __init__(self, items: Sequence[Item], preprocess: Preprocess, *, augment: bool = False) -> None:
        self.items = tuple(items)
        self._preprocess = preprocess
        self._augment: Callable[[Tensor], Tensor] | None = None
        if augment:
            self._augment = transforms.Compose(
                [transforms.RandomResizedCrop(preprocess.input_size, antialias=True), transforms.RandomHorizontalFlip()]
            )

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.items[index]
        pixels = read_pixels(path)
        if self._augment is None:
            return torch.from_numpy(self._preprocess.fast(pixels)), label
        augmented = self._augment(torch.from_numpy(pixels).permute(2, 0, 1))
        return torch.from_numpy(self._preprocess.normalise(augmented.numpy())), label


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """(height, width, 3) uint8; raises DatasetError where the file is no picture."""
    try:
        return decode_pixels(path.read_bytes())
    except (ImageError, OSError) as error:
        raise DatasetError(f"{path}: {error}; take it out of the data set") from error


def in_memory(items: Sequence[Item], preprocess: Preprocess) -> InMemoryDataset:
    """All pictures of `items`, decoded and resized once: for small ones."""
    with ThreadPoolExecutor() as pool:
        pixels = list(pool.map(lambda item: to_pixels(read_pixels(item[0]), preprocess), items))
    return InMemoryDataset(torch.stack(pixels), torch.tensor([label for _, label in items]), preprocess)


def class_folders(root: Path) -> list[str]:
    """Names of the folders under `root`, sorted.

    Raises:
        DatasetError: there are none.
    """
    names = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise DatasetError(f"{root} has no folders; expected one for each class, with pictures in it")
    return names


def class_items(root: Path, classes: Sequence[str]) -> list[Item]:
    """The picture files under `root`, in the order of classes and names.

    Raises:
        DatasetError: a folder is no class, or there is no picture.
    """
    strange = sorted(set(class_folders(root)) - set(classes))
    if strange:
        raise DatasetError(f"{root} has a folder {strange[0]!r}, which the training data does not have")
    items = [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted((root / name).rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    if not items:
        raise DatasetError(f"{root} has {len(classes)} class folders and no picture in them; known endings: {sorted(SUFFIXES)}")
    return items
