"""Labelled image files, each read when it is asked for, or all of them once."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms

from hubserve.data.image_folder import Item
from hubserve.data.in_memory_dataset import InMemoryDataset, to_pixels
from hubserve.errors import DatasetError, ImageError
from hubserve.host import cores
from hubserve.preprocess import Preprocess, decode_pixels


class FileDataset(Dataset[tuple[Tensor, int]]):
    """Image files with their classes; an item is (input (3, size, size) float32, class index).

    Args:
        items: Image files with class indices. A file that is no readable image raises DatasetError when it is asked for.
        preprocess: Preparation of the images, as in serving.
        augment: Whether to crop at random places and scales and to mirror half of the images (Szegedy et al. 2015), in place
            of the resize and the centre crop.
    """

    def __init__(self, items: Sequence[Item], preprocess: Preprocess, *, augment: bool = False) -> None:
        self.items = tuple(items)
        self._preprocess = preprocess
        steps = [transforms.RandomResizedCrop(preprocess.input_size, antialias=True), transforms.RandomHorizontalFlip()]
        self._augment: Callable[[Tensor], Tensor] | None = transforms.Compose(steps) if augment else None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.items[index]
        pixels = read_pixels(path)
        if self._augment is None:
            return torch.from_numpy(self._preprocess.fast(pixels)), label
        augmented = self._augment(torch.tensor(pixels).permute(2, 0, 1))
        return torch.from_numpy(self._preprocess.normalise(augmented.numpy())), label


def read_into_memory(items: Sequence[Item], preprocess: Preprocess) -> InMemoryDataset:
    """All images of `items`, decoded and resized once; for data sets of small images.

    Raises:
        DatasetError: A file is no readable image.
    """
    with ThreadPoolExecutor(cores()) as pool:
        pixels = list(pool.map(lambda item: to_pixels(read_pixels(item[0]), preprocess), items))
    return InMemoryDataset(torch.stack(pixels), torch.tensor([label for _, label in items]), preprocess)


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """(height, width, 3) uint8, RGB."""
    try:
        return decode_pixels(path.read_bytes())
    except (ImageError, OSError) as error:
        raise DatasetError(f"{path}: {error}; take it out of the data set") from error
