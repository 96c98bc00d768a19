"""`FileDataset`, which reads an image file at each access of its item, and `read_into_memory`, which reads all at once."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from hubserve.data.augmentation import TrainingCrop
from hubserve.data.in_memory_dataset import InMemoryDataset, to_pixels
from hubserve.data.names import shown
from hubserve.data.scan import Item
from hubserve.errors import DatasetError, ImageError
from hubserve.host import cores
from hubserve.preprocess import Preprocess, decode_pixels


class FileDataset(Dataset[tuple[Tensor, int]]):
    """A data set of image files; each file is read and preprocessed when its item is accessed.

    An item is a pair of the input, a float32 tensor (3, size, size), and the class index. Accessing an item whose file is not
    a readable image raises `DatasetError`.

    Args:
        items: Pairs of an image file and the index of its class.
        preprocess: Preprocessing of the images, the same as in the service.
        augment: Whether to augment the images with `TrainingCrop`: random crops, half of them mirrored.
    """

    def __init__(self, items: Sequence[Item], preprocess: Preprocess, *, augment: bool = False) -> None:
        self.items = tuple(items)
        self._preprocess = preprocess
        self._augment = TrainingCrop(preprocess) if augment else None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.items[index]
        pixels = read_pixels(path)
        if self._augment is None:
            return torch.from_numpy(self._preprocess.fast(pixels)), label
        return torch.from_numpy(self._preprocess.normalise(self._augment(pixels).numpy())), label


def read_into_memory(items: Sequence[Item], preprocess: Preprocess) -> InMemoryDataset:
    """Decodes and resizes all images of `items`, and returns them as one data set in memory.

    Args:
        items: Pairs of an image file and the index of its class.
        preprocess: Preprocessing that gives the size and is used to normalise the images.

    Raises:
        DatasetError: A file is not a readable image.
    """
    with ThreadPoolExecutor(cores()) as pool:
        pixels = list(pool.map(lambda item: to_pixels(read_pixels(item[0]), preprocess), items))
    return InMemoryDataset(torch.stack(pixels), torch.tensor([label for _, label in items]), preprocess)


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """Decodes an image file, as the service does, and returns its pixels: (height, width, 3) uint8, in RGB.

    Raises:
        DatasetError: The file is not a readable image.
    """
    try:
        return decode_pixels(path.read_bytes())
    except (ImageError, OSError) as error:
        # Such a file was not found where only headers were checked.
        raise DatasetError(
            f"{shown(path)}: {error}; take it out of the data set, or let --check=all find all such files, which runs leave out"
        ) from error
