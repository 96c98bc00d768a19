"""Finds and reads the image files that a user names: single files, patterns, and folders of images."""

import glob
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from hubserve.data.listing_rows import is_listing
from hubserve.errors import ImageError, OutputError
from hubserve.image_file import read_image_file

Answered = TypeVar("Answered")
"""The answer for an image."""


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


def classified_files(
    classify: Callable[[bytes], Answered], paths: Sequence[Path]
) -> tuple[dict[str, Answered], dict[str, ImageError]]:
    """Classifies image files, and returns the answers and the errors of those that are no readable images, by path.

    Args:
        classify: Function from the bytes of an image file to its answer.
        paths: The files.

    Raises:
        ImageError: None of the files is a readable image; the error is that of the first one, and names it.
    """
    answers: dict[str, Answered] = {}
    refused: dict[str, ImageError] = {}
    for path in paths:
        try:
            answers[str(path)] = classify(read_image_file(path))
        except ImageError as error:
            message = str(error)
            refused[str(path)] = error if str(path) in message else type(error)(f"{path}: {message}")
    if refused and not answers:
        raise next(iter(refused.values()))
    return answers, refused
