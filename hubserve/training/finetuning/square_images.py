"""`SquareImages`: reads labelled image files as square uint8 images of the size of the network's input."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hubserve.data.file_dataset import read_pixels
from hubserve.data.scan import Item
from hubserve.host import cores
from hubserve.preprocess import Preprocess

MEMORY_BYTES = 2**30
"""Largest size, in bytes, of a set of square images that is kept in memory; larger sets are read from their files each time."""


class SquareImages:
    """Labelled image files, which are decoded and fitted to a square as the service does, with one thread per core.

    Images are not normalised, so that they can still be augmented; `normalise` does that. Their `size` is
    `preprocess.input_size`.

    Args:
        items: Pairs of an image file and the index of its class.
        preprocess: Preprocessing of the images.

    Attributes:
        items: Pairs of an image file and the index of its class.
        labels: Index of the class of each image, (n,) int64.
        preprocess: Preprocessing of the images.
    """

    def __init__(self, items: Sequence[Item], preprocess: Preprocess) -> None:
        self.items = tuple(items)
        self.labels = torch.tensor([label for _, label in self.items], dtype=torch.int64)
        self.preprocess = preprocess
        size = preprocess.input_size
        fits = len(self.items) * size * size * 3 <= MEMORY_BYTES
        self._kept: Tensor | None = torch.empty((len(self.items), 3, size, size), dtype=torch.uint8) if fits else None
        self._present = np.zeros(len(self.items), bool)
        self._pool = ThreadPoolExecutor(cores())

    def __reduce__(self) -> tuple[Any, ...]:
        """Returns how pickle makes a copy: with the same files, which it reads itself."""
        return SquareImages, (self.items, self.preprocess)

    def __len__(self) -> int:
        return len(self.items)

    def squares(self, indices: Sequence[int]) -> Tensor:
        """Returns the images with these indices, (len(indices), 3, size, size) uint8, in RGB.

        Raises:
            DatasetError: A file cannot be read, or is no image.
        """
        if self._kept is None:
            return torch.stack(list(self._pool.map(self._read, indices)))
        missing = [index for index in indices if not self._present[index]]
        for index, square in zip(missing, self._pool.map(self._read, missing), strict=True):
            self._kept[index] = square
            self._present[index] = True
        return self._kept[torch.as_tensor(indices)]

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields all images in order in batches of at most `size`: the images as `squares` returns them, and their labels.

        Raises:
            DatasetError: A file cannot be read, or is no image.
        """
        for begin in range(0, len(self), size):
            indices = range(begin, min(begin + size, len(self)))
            yield self.squares(indices), self.labels[begin : indices.stop]

    def normalise(self, squares: Tensor) -> Tensor:
        """Normalises images (n, 3, size, size) uint8 to the network's input, a float32 tensor of the same shape."""
        return torch.from_numpy(self.preprocess.normalise(squares.numpy()))

    def _read(self, index: int) -> Tensor:
        square: NDArray[np.uint8] = self.preprocess.square(read_pixels(self.items[index][0]))
        return torch.from_numpy(np.ascontiguousarray(square.transpose(2, 0, 1)))
