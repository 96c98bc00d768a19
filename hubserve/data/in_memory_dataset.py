"""Small labelled pictures in memory, prepared batch by batch exactly as the service prepares a picture."""

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
    """Pictures and their classes.

    Args:
        pixels: (n, 3, size, size) uint8, RGB, resized and cropped already.
        targets: (n,) int64.
        preprocess: whose scale, channel order, mean and deviation the pictures get.
        augment: applied before that, anew each time; None for pictures as they are.
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
        """Torch's loaders ask for a batch at once: so it is augmented and normalised at once."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        pixels = self.pixels[chosen]
        if self._augment is not None:
            pixels = self._augment(pixels)
        inputs = torch.from_numpy(self.preprocess.normalise(pixels.numpy()))
        return list(zip(inputs.unbind(), self.targets[chosen].unbind(), strict=True))

    def part(self, indices: Sequence[int], *, augment: Augment | None = None) -> InMemoryDataset:
        """Those pictures alone."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return InMemoryDataset(self.pixels[chosen], self.targets[chosen], self.preprocess, augment)


def to_pixels(pixels: NDArray[np.uint8], preprocess: Preprocess) -> Tensor:
    """An image (height, width, 3) uint8 as the square that the network sees, (3, size, size) uint8, before it is normalised."""
    return torch.from_numpy(preprocess.square(pixels)).permute(2, 0, 1)
