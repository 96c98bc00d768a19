"""Small labelled pictures in memory, prepared batch by batch exactly as the service prepares a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from hubserve.preprocess import Preprocess

Augment = Callable[[Tensor], Tensor]
"""(batch, 3, height, width) uint8 -> the same shape, by torch's random numbers."""


class PixelData(Dataset[tuple[Tensor, Tensor]]):
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
        inputs = self.preprocess.normalise(pixels)
        return list(zip(inputs.unbind(), self.targets[chosen].unbind(), strict=True))

    def part(self, indices: Sequence[int], *, augment: Augment | None = None) -> PixelData:
        """Those pictures alone."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return PixelData(self.pixels[chosen], self.targets[chosen], self.preprocess, augment)


@dataclass(frozen=True)
class CropAndFlip:
    """The augmentation of He et al. 2016 for CIFAR: a random crop of the padded picture, and half of them mirrored.

    Attributes:
        padding: black pixels around the picture.
        flip: whether to mirror.
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


def stratified(targets: Sequence[int], shares: Sequence[float], *, seed: int = 0) -> list[list[int]]:
    """Indices in parts, each with its share of every class; what the shares leave over is in the last part.

    Args:
        targets: class of each picture.
        shares: of all parts but the last, in [0, 1].
        seed: of who goes where.

    Returns:
        Sorted indices for each part, one part more than there are shares.
    """
    rng = Random(seed)
    parts: list[list[int]] = [[] for _ in range(len(shares) + 1)]
    classes = np.asarray(targets)
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label).tolist()
        rng.shuffle(members)
        borders = [0, *(round(len(members) * share) for share in np.cumsum(shares)), len(members)]
        for part, start, end in zip(parts, borders[:-1], borders[1:], strict=True):
            part.extend(members[start:end])
    return [sorted(part) for part in parts]


def to_pixels(picture: Tensor, preprocess: Preprocess) -> Tensor:
    """A picture of any size as the square that the network sees, (3, size, size) uint8, before it is normalised."""
    plain = preprocess.model_copy(update={"scale": 1.0, "mean": (0.0,) * 3, "std": (1.0,) * 3, "channels": "rgb"})
    return plain.fast(picture).round().to(torch.uint8)
