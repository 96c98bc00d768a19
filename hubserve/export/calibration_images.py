"""Divides the images given to an export: one half calibrates the ranges of 8-bit formats, the other judges their loss."""

from collections.abc import Sequence
from itertools import islice

from hubserve.errors import ExportError
from hubserve.package.manifest import INT8_FORMATS, Format
from hubserve.package.runner import Batch


def calibrating(images: Sequence[Batch]) -> Sequence[Batch]:
    """Returns the batches 0, 2, 4, ... of `images`, from which a writer takes the range of every tensor."""
    return images[::2]


def held_out(images: Sequence[Batch], classes: Sequence[int]) -> tuple[Sequence[Batch], list[int]]:
    """Returns the batches 1, 3, 5, ... of `images`, which calibrate nothing, and the classes of their images.

    Args:
        images: Batches of images.
        classes: Index of the true class of each image, in order; empty if none is known.
    """
    remaining = iter(classes)
    by_batch = [list(islice(remaining, len(batch))) for batch in images]
    return images[1::2], [index for batch in by_batch[1::2] for index in batch]


def check_calibration(name: Format, images: Sequence[Batch]) -> None:
    """Raises ExportError if `name` is a format in 8-bit integers, and `images` has fewer than two batches."""
    if name in INT8_FORMATS and len(images) < 2:
        raise ExportError(
            f"{name} needs images to calibrate the range of every tensor, and others to be compared on: at least two "
            f"batches, and there are {len(images)}; give some 200 images of the kind that the model will see (--images FOLDER)"
        )
