"""Reads some images of a data set, prepared and in batches, with their classes: to compare the formats of a model on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from hubserve.data.image_folder import image_files, labelled_images
from hubserve.data.scan import Item
from hubserve.errors import DatasetError, ImageError
from hubserve.image_names import SUFFIXES
from hubserve.package.runner import Batch
from hubserve.preprocess import Preprocess, decode_image

BATCH = 8
"""Number of images in a batch; the last one may have fewer."""


@dataclass(frozen=True)
class ImageBatches:
    """Prepared images and their classes.

    Attributes:
        batches: Batches of prepared images, each (n, 3, height, width) float32.
        classes: Index of the class of each image, in order; empty if the classes are not known.
        why_unknown: Reason why the classes are not known; None if they are.
    """

    batches: list[Batch]
    classes: list[int]
    why_unknown: str | None = None


def image_batches(data: Path | str, preprocess: Preprocess, labels: Sequence[str], *, most: int) -> ImageBatches:
    """Reads images, prepared by the reference implementation of a model's preprocessing, and their classes.

    Files that cannot be read as images are skipped. Of a folder whose class folders are missing or do not match `labels`, all
    images are read, and the classes are not known.

    Args:
        data: Folder with a sub-folder for each class, a listing, or an address such as hf://owner/name, as in
            `hubserve.data.image_folder.labelled_images`; or a folder of images whose classes are not known.
        preprocess: Preprocessing of the model.
        labels: Label of each class of the model, in the order of the logits.
        most: Largest number of images; they are drawn at random with a fixed seed.

    Raises:
        DatasetError: There are no such data, or no readable image in them; or they are no folder and their classes do not match
            `labels`.
        MissingExtraError: A library of an optional extra is not installed.
    """
    items, why_unknown = _items(data, labels)
    Random(0).shuffle(items)
    found: list[Batch] = []
    classes: list[int] = []
    for path, true in items:
        if len(found) == most:
            break
        try:
            found.append(preprocess.reference(decode_image(path.read_bytes())))
        except (ImageError, OSError):
            continue
        classes.append(true)
    if not found:
        raise DatasetError(f"{data} has no readable image; known endings: {sorted(SUFFIXES)}")
    batches = [np.stack(found[i : i + BATCH]) for i in range(0, len(found), BATCH)]
    return ImageBatches(batches, classes if why_unknown is None else [], why_unknown)


def _items(data: Path | str, labels: Sequence[str]) -> tuple[list[Item], str | None]:
    """Returns the images with the index of the class of each, -1 if the classes are not known, and the reason for that.

    Raises:
        DatasetError: The classes are not known, and `data` is no folder.
    """
    try:
        return list(labelled_images(data, labels).items), None
    except DatasetError as error:
        # Without sub-folders for the classes, images have no labels but still serve to compare formats.
        if not Path(data).is_dir():
            raise
        return [(path, -1) for path in image_files(Path(data))], str(error)
