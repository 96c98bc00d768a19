"""`InMemoryDataset`: a data set whose images are all held in memory, and normalised one batch at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from hubserve.data.augmentation import Augment
from hubserve.preprocess import Preprocess


class InMemoryDataset(Dataset[tuple[Tensor, Tensor]]):
    """A data set of images of one size that are held in memory.

    An item is a pair (input, class): a float32 tensor (3, size, size) and an int64 tensor without dimensions.

    Args:
        pixels: Images that are already resized and cropped, (n, 3, size, size) uint8, in RGB.
        targets: Class index of each image, (n,) int64.
        preprocess: Preprocessing whose channel order, scale, mean and standard deviation normalise the images.
        augment: Augmentation that is applied to the pixels before they are normalised, each time items are read; None means
            that there is none.
    """

    def __init__(self, pixels: Tensor, targets: Tensor, preprocess: Preprocess, augment: Augment | None = None) -> None:
        self.pixels = pixels
        self.targets = targets
        self.preprocess = preprocess
        self._augment = augment

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Returns the items with these indices, augmented and normalised as one batch.

        If a data set has this method, `torch.utils.data.DataLoader` calls it in place of `__getitem__` for each item.
        """
        chosen = torch.as_tensor(indices, dtype=torch.long)
        pixels = self.pixels[chosen]
        if self._augment is not None:
            pixels = self._augment(pixels)
        inputs = torch.from_numpy(self.preprocess.normalise(pixels.numpy()))
        return list(zip(inputs.unbind(), self.targets[chosen].unbind(), strict=True))

    def part(self, indices: Sequence[int], *, augment: Augment | None = None) -> InMemoryDataset:
        """Returns a new data set that holds copies of the images with these indices, in the order of `indices`.

        The new data set has the augmentation `augment`, or none for None; that of this data set is not inherited.
        """
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return InMemoryDataset(self.pixels[chosen], self.targets[chosen], self.preprocess, augment)


def to_pixels(pixels: NDArray[np.uint8], preprocess: Preprocess) -> Tensor:
    """Resizes an image to the square input of the network, without normalising it.

    Args:
        pixels: Image, (height, width, 3) uint8, in RGB.
        preprocess: Preprocessing of the network; gives the input size and how the image is fitted to it.

    Returns:
        Tensor (3, input_size, input_size) uint8, in RGB.
    """
    return torch.from_numpy(preprocess.square(pixels)).permute(2, 0, 1)
