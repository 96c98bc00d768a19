"""Computes features, the outputs of the frozen early layers and inputs of the trained ones; stores them, or computes anew."""

import hashlib
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import fsencode
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hubserve.atomic import staged_file, write_atomic
from hubserve.training.finetuning.augmented_views import RandomViews
from hubserve.training.finetuning.square_images import SquareImages
from hubserve.training.seeding import seeded

CHUNK = 64
"""Number of images that go through the early layers at a time."""

MOST_VIEWS = 8
"""Largest number of views of each training image whose features are stored."""

MOST_BYTES = 4 * 2**30
"""Most bytes of features that are stored on disk."""

DISK_SHARE = 0.5
"""Largest share of the free disk that features may take."""

IMAGES = "images.sha256"
"""Name of the file that says of which images the features in a folder are."""

Advance = Callable[[int, int], None]
"""Progress callback, called with the number of images processed so far and the number of all images."""

Extract = Callable[[Tensor], Tensor]
"""Prepared images (n, 3, size, size) -> features (n, ...), on the CPU."""


class Features(Protocol):
    """The protocol of the features of a set of images, from which the trained layers get their batches."""

    def __len__(self) -> int:
        """Returns the number of images."""

    def batch(self, indices: Tensor) -> Tensor:
        """Returns the features of the images with these indices, (len(indices), ...) float32.

        Where there are several views, that of each image is drawn at random, with torch's global generator.

        Raises:
            DatasetError: An image cannot be read.
        """


@dataclass(frozen=True)
class TrainingPart:
    """The images of one part as the trained layers see them.

    Attributes:
        features: Features of the images.
        labels: Class index of each image, (n,) int64.
    """

    features: Features
    labels: Tensor


class ComputedFeatures:
    """Features that are computed anew for each batch.

    Args:
        images: The images.
        extract: The early layers; None where there are none, so that features are prepared images.
        views: Draws a random view of each image; None takes the images as they are in serving.
    """

    def __init__(self, images: SquareImages, extract: Extract | None, views: RandomViews | None = None) -> None:
        self._images = images
        self._extract = extract
        self._views = views

    def __len__(self) -> int:
        return len(self._images)

    def batch(self, indices: Tensor) -> Tensor:
        squares = self._images.squares(indices.tolist())
        inputs = self._images.normalise(squares if self._views is None else self._views(squares))
        return inputs if self._extract is None else self._extract(inputs)


class StoredFeatures:
    """Features of a few views of each image, in files of float16; a batch has one of the views of each image, at random.

    Args:
        files: One .npy file for each view, (n, ...) float16; at least one.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._views: list[NDArray[np.float16]] = [np.load(file, mmap_mode="r") for file in files]

    def __len__(self) -> int:
        return len(self._views[0])

    def batch(self, indices: Tensor) -> Tensor:
        views = torch.randint(len(self._views), (len(indices),)).tolist()
        rows = np.stack([self._views[view][index] for view, index in zip(views, indices.tolist(), strict=True)])
        return torch.from_numpy(rows).float()


@dataclass(frozen=True)
class FeatureFolder:
    """A folder of stored features; a view that is there already, from a run that was interrupted, is not computed again.

    The features of an image are found by its place among all images. So `keep_only_of` must be called before the first view: if
    images came or went since the run was interrupted, the stored features are those of other images.

    Attributes:
        path: The folder; `capacity_for` creates it if it does not exist.
        extract: The early layers.
        shape: Shape of the features of one image.
    """

    path: Path
    extract: Extract
    shape: tuple[int, ...]

    def bytes_of(self, images: int) -> int:
        """Returns the size in bytes of the stored features of one view of `images` images."""
        return 2 * images * math.prod(self.shape)

    def capacity_for(self, images: int) -> int:
        """Returns how many views of `images` images may be stored, from 0 to `MOST_VIEWS`; creates the folder.

        They must fit into `MOST_BYTES` and into the share `DISK_SHARE` of what is free on the disk now.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        free = min(MOST_BYTES, DISK_SHARE * shutil.disk_usage(self.path).free)
        return min(MOST_VIEWS, int(free // max(1, self.bytes_of(images))))

    def keep_only_of(self, *parts: SquareImages) -> None:
        """Deletes the stored features, unless they are of the images in `parts`, and records of which images they are.

        Images are compared by path, class and preprocessing, not by content.

        Args:
            parts: The images of each part, in an order that is the same at each call.
        """
        file, wanted = self.path / IMAGES, _identity(parts)
        if file.is_file() and file.read_text("ascii") == wanted:
            return
        for view in self.path.glob("*.npy"):
            view.unlink()
        write_atomic(file, wanted)

    def view(self, name: str, images: SquareImages, views: RandomViews | None, *, seed: int, advance: Advance) -> Path:
        """Returns the file with the features of one view of all images; computes it if it does not exist.

        Args:
            name: Name of the view, which is also that of its file.
            images: The images.
            views: Draws the view of each image; None takes the images as they are in serving.
            seed: Seed of the random view.
            advance: Called after each chunk of images.

        Raises:
            DatasetError: An image cannot be read.
            OSError: The file cannot be written (StorageError for a full, read-only or forbidden disk).
        """
        file = self.path / f"{name}.npy"
        if not file.is_file():
            with seeded(seed), staged_file(file) as temporary:
                stored = np.lib.format.open_memmap(temporary, "w+", np.float16, (len(images), *self.shape))
                done = 0
                for squares, _ in images.batches(CHUNK):
                    inputs = images.normalise(squares if views is None else views(squares))
                    stored[done : done + len(squares)] = self.extract(inputs).numpy()
                    done += len(squares)
                    advance(done, len(images))
                stored.flush()
        return file


def _identity(parts: Sequence[SquareImages]) -> str:
    """Returns a SHA-256, in hexadecimal, over the preprocessing, and the paths and classes of the images in their order."""
    found = hashlib.sha256()
    for images in parts:
        found.update(b"%d\0%b" % (len(images), images.preprocess.model_dump_json().encode()))
        for path, label in images.items:
            found.update(b"\0%b\0%d" % (fsencode(path), label))
    return found.hexdigest()


def extractor(early: nn.Module, device: torch.device) -> Extract:
    """Returns a function that runs `early` in eval mode on `device`; its inputs and its results are on the CPU."""
    early.eval()

    @torch.no_grad()
    def extract(inputs: Tensor) -> Tensor:
        on_device = inputs.to(device, memory_format=torch.channels_last)
        found: Tensor = early(on_device)
        return found.float().cpu().contiguous()

    return extract
