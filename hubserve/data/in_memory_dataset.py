"""Small labelled images in memory, prepared batch by batch as the service prepares an image."""

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
    """Images of one size with their classes; an item is (input (3, size, size) float32, class () int64).

    Args:
        pixels: Images, (n, 3, size, size) uint8, RGB, resized and cropped.
        targets: Class index of each image, (n,) int64.
        preprocess: Gives the channel order, scale, mean and deviation that the images are normalised with.
        augment: Changes the pixels of a batch before they are normalised, anew each time; None leaves them as they are.
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
        """The items of a batch, which torch's DataLoader asks for together; they are augmented and normalised together."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        pixels = self.pixels[chosen]
        if self._augment is not None:
            pixels = self._augment(pixels)
        inputs = torch.from_numpy(self.preprocess.normalise(pixels.numpy()))
        return list(zip(inputs.unbind(), self.targets[chosen].unbind(), strict=True))

    def part(self, indices: Sequence[int], *, augment: Augment | None = None) -> InMemoryDataset:
        """A data set of the images with these indices, in that order, with an augmentation of its own."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return InMemoryDataset(self.pixels[chosen], self.targets[chosen], self.preprocess, augment)


def to_pixels(pixels: NDArray[np.uint8], preprocess: Preprocess) -> Tensor:
    """The square that the network sees of an image (height, width, 3) uint8: (3, input_size, input_size) uint8, RGB."""
    return torch.from_numpy(preprocess.square(pixels)).permute(2, 0, 1)
