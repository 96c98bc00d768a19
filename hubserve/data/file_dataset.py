"""Labelled image files, each read when it is asked for, or all of them once."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from hubserve.data.augmentation import training_crop
from hubserve.data.in_memory_dataset import InMemoryDataset, to_pixels
from hubserve.data.scan import Item
from hubserve.errors import DatasetError, ImageError
from hubserve.host import cores
from hubserve.preprocess import Preprocess, decode_pixels


class FileDataset(Dataset[tuple[Tensor, int]]):
    """Image files with their classes; an item is (input (3, size, size) float32, class index).

    Args:
        items: Image files with class indices. A file that is no readable image raises DatasetError when it is asked for.
        preprocess: Preparation of the images, as in serving.
        augment: Whether to crop at random places and scales and to mirror half of the images, see `training_crop`.
    """

    def __init__(self, items: Sequence[Item], preprocess: Preprocess, *, augment: bool = False) -> None:
        self.items = tuple(items)
        self._preprocess = preprocess
        self._augment: Callable[[NDArray[np.uint8]], Tensor] | None = training_crop(preprocess) if augment else None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.items[index]
        pixels = read_pixels(path)
        if self._augment is None:
            return torch.from_numpy(self._preprocess.fast(pixels)), label
        return torch.from_numpy(self._preprocess.normalise(self._augment(pixels).numpy())), label


def read_into_memory(items: Sequence[Item], preprocess: Preprocess) -> InMemoryDataset:
    """All images of `items`, decoded and resized once; for data sets of small images.

    Raises:
        DatasetError: A file is no readable image.
    """
    with ThreadPoolExecutor(cores()) as pool:
        pixels = list(pool.map(lambda item: to_pixels(read_pixels(item[0]), preprocess), items))
    return InMemoryDataset(torch.stack(pixels), torch.tensor([label for _, label in items]), preprocess)


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """The pixels of an image file, decoded as in serving: (height, width, 3) uint8, RGB.

    Raises:
        DatasetError: The file is no readable image.
    """
    try:
        return decode_pixels(path.read_bytes())
    except (ImageError, OSError) as error:
        raise DatasetError(f"{path}: {error}; take it out of the data set") from error
