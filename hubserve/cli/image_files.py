"""Image files that a user names: single files, patterns, and folders of images prepared for a model."""

import glob
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np

from hubserve.data import image_folder
from hubserve.data.folder_walk import SUFFIXES
from hubserve.errors import DatasetError, ImageError
from hubserve.package.runner import Batch
from hubserve.preprocess import Preprocess, decode_image

BATCH = 8


def image_files(names: Sequence[str]) -> list[Path]:
    """The files that `names` stand for, in that order; a pattern such as `photos/*.jpg` stands for all files that match.

    Raises:
        ImageError: a name is an address, or there is no such file.
    """
    return [path for name in names for path in _matching_files(name)]


def read_image(path: Path) -> bytes:
    """The bytes of a file. Raises ImageError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or error}") from error


def _matching_files(name: str) -> list[Path]:
    if "://" in name:
        raise ImageError(f"{name} is an address, and only files are read: download it first, then name the file")
    if Path(name).exists():
        return [Path(name)]
    found = sorted(Path(match) for match in glob.glob(name, recursive=True) if Path(match).is_file())
    if not found:
        pattern = "no file matches the pattern" if glob.has_magic(name) else "there is no such file"
        raise ImageError(f"{name}: {pattern}; looked in {Path.cwd()}")
    return found


def image_batches(folder: Path, preprocess: Preprocess, labels: Sequence[str], *, most: int) -> tuple[list[Batch], list[int]]:
    """Up to `most` images under `folder`, drawn at random with a fixed seed, in batches of 8; and the class of each.

    The classes are known where the folder has one sub-folder for each (see `hubserve eval`); else the list is empty.

    Raises:
        DatasetError: there is no readable image in it.
    """
    items = _items(folder, labels)
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
        raise DatasetError(f"{folder} has no readable image; known endings: {sorted(SUFFIXES)}")
    batches = [np.stack(found[i : i + BATCH]) for i in range(0, len(found), BATCH)]
    return batches, classes if max(classes) >= 0 else []


def _items(folder: Path, labels: Sequence[str]) -> list[tuple[Path, int]]:
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder of images")
    try:
        return list(image_folder.labelled_images(folder, labels).items)
    except DatasetError:  # No folder for each class: unlabelled images are good enough to compare formats on.
        return [(path, -1) for path in image_folder.image_files(folder)]
