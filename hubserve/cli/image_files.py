"""Finds and reads the image files that a user names: single files, patterns, and folders of images."""

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import numpy as np

from hubserve.data import image_folder
from hubserve.data.listing import is_listing
from hubserve.errors import DatasetError, ImageError, OutputError
from hubserve.image_names import SUFFIXES
from hubserve.package.runner import Batch
from hubserve.preprocess import Preprocess, decode_image

BATCH = 8


def check_files(names: Sequence[str], *, without_effect: Mapping[str, bool]) -> None:
    """Checks the arguments of `hubserve predict` without `--out`.

    Args:
        names: Paths and patterns of image files.
        without_effect: Option that goes with `--out` -> whether it was given.

    Raises:
        ImageError: A name is a folder or a listing, whose images are classified with `--out` only.
        OutputError: An option was given that goes with `--out`.
    """
    for option, given in without_effect.items():
        if given:
            raise OutputError(f"{option} goes with --out FILE")
    for name in names:
        path = Path(name)
        if path.is_dir() or (is_listing(path) and path.is_file()):
            kind = "a folder" if path.is_dir() else "a listing"
            raise ImageError(
                f"{name} is {kind}: to classify its images, say where the rows go, with --out FILE.parquet, .csv or .jsonl"
            )


def image_files(names: Sequence[str]) -> list[Path]:
    """Returns the files that `names` mean, in the same order.

    Args:
        names: Paths of files, and patterns such as `photos/*.jpg`, each of which means all files that match it.

    Raises:
        ImageError: A name is a URL, or no such file exists.
    """
    return [path for name in names for path in _matching_files(name)]


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
    """Reads images in a folder, preprocessed and in batches of 8, and the index of the class of each image.

    The classes are known if the folder has a sub-folder for each class, as for `hubserve eval`.

    Args:
        folder: Folder of images.
        preprocess: Preprocessing of the model.
        labels: Label of each class of the model, in the order of the logits.
        most: Largest number of images; they are drawn at random with a fixed seed.

    Returns:
        The batches, each (n, 3, height, width) float32, and the classes of their images in order; the list of classes is empty
        if they are not known.

    Raises:
        DatasetError: The folder does not exist, or has no readable image.
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
    except DatasetError:  # Without sub-folders for the classes, images have no labels but still serve to compare formats.
        return [(path, -1) for path in image_folder.image_files(folder)]
