"""Augmentation: random changes of training images, drawn anew for every batch."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Augment = Callable[[Tensor], Tensor]
"""Batch of images (n, 3, height, width) uint8 -> changed images of the same shape, drawn with torch's random numbers."""


@dataclass(frozen=True)
class CropAndFlip:
    """The augmentation of He et al. 2016 for CIFAR: a random crop of the padded image, half of the crops mirrored.

    Attributes:
        padding: Number of black pixels that are added on each side before the crop.
        flip: Whether to mirror half of the crops, left to right.
    """

    padding: int = 4
    flip: bool = True

    def __call__(self, pixels: Tensor) -> Tensor:
        n, _, height, width = pixels.shape
        padded = functional.pad(pixels, [self.padding] * 4)
        rows = torch.randint(2 * self.padding + 1, (n, 1)) + torch.arange(height)
        columns = torch.randint(2 * self.padding + 1, (n, 1)) + torch.arange(width)
        if self.flip:
            columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns)
        # Indexing puts the channels last.
        return padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
