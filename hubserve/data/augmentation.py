"""Augmentation: random changes of training images, drawn anew for every batch or image."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torchvision import transforms

from hubserve.preprocess import Preprocess

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


LEAST_AREA = {"crop": 0.08, "pad": 0.7, "squash": 0.7}
"""Smallest share of an image that `training_crop` keeps, by how images fit the input.

0.08 is that of Szegedy et al. 2015. Where the whole image is kept because what matters may lie at its ends, crops are large."""


def training_crop(preprocess: Preprocess) -> Callable[[NDArray[np.uint8]], Tensor]:
    """The augmentation of single images of any size: a random crop, resized, half of them mirrored left to right.

    With fit "crop" the crop is taken from the image as it is. With "pad" and "squash" it is taken from the square that the
    network is served with, so that training sees shapes as serving does.

    Args:
        preprocess: Preparation of the images.

    Returns:
        Function from an image, (height, width, 3) uint8, RGB, to the square (3, input_size, input_size) uint8; it draws with
        torch's random numbers.
    """
    size, area = preprocess.input_size, LEAST_AREA[preprocess.fit]
    change = transforms.Compose(
        [transforms.RandomResizedCrop(size, scale=(area, 1.0), antialias=True), transforms.RandomHorizontalFlip()]
    )

    def crop(pixels: NDArray[np.uint8]) -> Tensor:
        whole = pixels if preprocess.fit == "crop" else preprocess.square(pixels)
        changed: Tensor = change(torch.tensor(whole).permute(2, 0, 1))
        return changed

    return crop
