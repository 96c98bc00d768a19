"""Augmentation of training images: random crops and mirroring, drawn anew each time an image is read."""

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
"""Function from a batch of images, (n, 3, height, width) uint8, to the augmented batch of the same shape and type.

It draws from the global random number generator of PyTorch."""


@dataclass(frozen=True)
class CropAndFlip:
    """The augmentation of He et al. 2016 for CIFAR: crops each padded image at random, and mirrors it with probability 0.5.

    Calling it with images (n, 3, height, width) uint8 returns the augmented images in the same shape and type.

    Attributes:
        padding: Number of black pixels that are added on each side before the crop.
        flip: Whether each crop is mirrored, left to right, with probability 0.5.
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
"""Smallest share of the image's area that a crop of `TrainingCrop` covers, by `Preprocess.fit`.

The 0.08 of "crop" is the value of Szegedy et al. 2015. "pad" and "squash" show the network the whole image at inference, so
their training crops cover at least 0.7 of it."""


class TrainingCrop:
    """A callable that takes a random crop of one image, resizes it, and mirrors it with probability 0.5.

    With `preprocess.fit` "crop" the crop is taken from the original image. With "pad" and "squash" it is taken from the
    square image that the service would give to the network, so that objects have the same proportions in training.

    A call takes an image, (height, width, 3) uint8 in RGB, and returns a tensor (3, input_size, input_size) uint8. It draws
    from the global random number generator of PyTorch.

    Args:
        preprocess: Preprocessing of the network; its `input_size` and `fit` are used.
    """

    def __init__(self, preprocess: Preprocess) -> None:
        self._preprocess = preprocess
        scale = (LEAST_AREA[preprocess.fit], 1.0)
        steps = [
            transforms.RandomResizedCrop(preprocess.input_size, scale=scale, antialias=True),
            transforms.RandomHorizontalFlip(),
        ]
        self._change = transforms.Compose(steps)

    def __call__(self, pixels: NDArray[np.uint8]) -> Tensor:
        whole = pixels if self._preprocess.fit == "crop" else self._preprocess.square(pixels)
        changed: Tensor = self._change(torch.tensor(whole).permute(2, 0, 1))
        return changed
