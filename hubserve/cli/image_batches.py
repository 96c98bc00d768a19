"""Folders of pictures, prepared for a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np

from hubserve.data.image_folder import SUFFIXES, open_pictures
from hubserve.errors import DatasetError, ImageError
from hubserve.package.runner import Batch
from hubserve.preprocess import Preprocess, decode_image

BATCH = 8


def picture_batches(
    folder: Path, preprocess: Preprocess, labels: Sequence[str], *, most: int = 200
) -> tuple[list[Batch], list[int]]:
    """Up to `most` pictures under `folder`, drawn evenly, in batches of 8; and the class of each.

    The classes are known where the folder has one sub-folder for each (see `hubserve eval`); else the list is empty.

    Raises:
        DatasetError: no readable picture there.
    """
    items = _items(folder, labels)
    Random(0).shuffle(items)
    found: list[Batch] = []
    classes: list[int] = []
    for path, true in items:
        if len(found) == most:
            break
        try:
            found.append(preprocess.reference(decode_image(path.read_bytes())).numpy())
        except (ImageError, OSError):
            continue
        classes.append(true)
    if not found:
        raise DatasetError(f"{folder} has no readable picture; known endings: {sorted(SUFFIXES)}")
    batches = [np.stack(found[i : i + BATCH]) for i in range(0, len(found), BATCH)]
    return batches, classes if max(classes) >= 0 else []


def _items(folder: Path, labels: Sequence[str]) -> list[tuple[Path, int]]:
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder of pictures")
    try:
        return list(open_pictures(folder, labels).items)
    except DatasetError:  # No folder for each class: pictures without one are good enough to compare on.
        return [(path, -1) for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file()]
