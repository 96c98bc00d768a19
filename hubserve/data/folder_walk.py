"""Finds the image files below a folder, and names what is left out: hidden files, other endings, links that lead nowhere."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from hubserve.data.names import is_hidden, shown

SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".apng",
        ".webp",
        ".bmp",
        ".dib",
        ".gif",
        ".tif",
        ".tiff",
        ".avif",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
    ]
)
"""Endings of the names of image files, in small letters; capitals are taken, too."""

_USUAL_ENDING = re.compile(r"\.[a-z][a-z0-9]{0,5}")
"""Endings by which files are counted that are left out; others would be as many as files."""

MOST_NAMED = 5
"""Number of files that one sentence names."""


class LeftOut(NamedTuple):
    """A file, or a whole hidden folder, that is not used.

    Attributes:
        file: Its path relative to the data, as it is printed.
        kind: Why, in few words, by which left-out files are counted: "hidden", "ending .heic", "unreadable".
        detail: What exactly is wrong with this file; empty where `kind` says all.
    """

    file: str
    kind: str
    detail: str = ""


class Walk(NamedTuple):
    """What was found below a folder.

    Attributes:
        images: Paths of the image files, at any depth, sorted; a file is an image by the ending of its name.
        left_out: All other files, and hidden folders as one entry each.
        folders: Names of the folders directly in it, hidden ones excepted, sorted.
        direct: Number of image files directly in it.
    """

    images: list[Path]
    left_out: list[LeftOut]
    folders: list[str]
    direct: int


def walk(folder: Path, root: Path | None = None) -> Walk:
    """Looks through a folder and all folders in it; links are followed, and each folder is entered once on a way down.

    Args:
        folder: Folder to look through.
        root: Folder to which the paths in `left_out` are relative; None takes `folder`.

    Raises:
        OSError: `folder` itself cannot be read.
    """
    base = root or folder
    images: list[Path] = []
    left_out: list[LeftOut] = []

    def leave(path: Path, kind: str, detail: str = "") -> None:
        left_out.append(LeftOut(shown(path.relative_to(base)), kind, detail))

    def enter(place: Path, above: tuple[tuple[int, int], ...]) -> list[str]:
        status = place.stat()
        here = (status.st_dev, status.st_ino)
        if here in above:
            leave(place, "link into itself", "the folder lies in itself")
            return []
        names = []
        with os.scandir(place) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            path = place / entry.name
            try:
                is_folder = entry.is_dir()
            except OSError:
                is_folder = False
            if is_hidden(entry.name):
                leave(path, "hidden", "folder" if is_folder else "")
            elif is_folder:
                names.append(entry.name)
                try:
                    enter(path, (*above, here))
                except OSError as error:
                    leave(path, "unreadable", f"the folder cannot be opened: {error.strerror}")
            elif (problem := _file_problem(entry, path)) is not None:
                leave(path, *problem)
            else:
                images.append(path)
        return names

    folders = enter(folder, ())
    images.sort()
    return Walk(images, left_out, folders, sum(path.parent == folder for path in images))


def _file_problem(entry: os.DirEntry[str], path: Path) -> tuple[str, str] | None:
    try:
        if not entry.is_file():
            broken = entry.is_symlink() and not path.exists()
            return ("link to nothing", os.readlink(path)) if broken else ("not a regular file", "")
    except OSError as error:
        return "unreadable", str(error.strerror)
    return ending_problem(path)


def ending_problem(path: Path) -> tuple[str, str] | None:
    """Why a file is no image by the ending of its name, as kind and detail of a LeftOut; None where it is one."""
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return None
    if suffix in (".heic", ".heif"):
        return f"ending {suffix}", "not read: convert it to JPEG"
    return (f"ending {suffix}", "") if _USUAL_ENDING.fullmatch(suffix) else ("without a usual ending", "")


def named(files: Iterable[str]) -> str:
    """The first few of some files, for a sentence: `a.jpg, b.jpg and 7 more`."""
    found = list(files)
    rest = len(found) - MOST_NAMED
    return ", ".join(found[:MOST_NAMED]) + (f" and {rest:,} more" if rest > 0 else "")


def left_out_text(left_out: Sequence[LeftOut]) -> str:
    """How many files are left out, by kind and with the first names: `2 hidden (a/._1.jpg, a/._2.jpg)`."""
    kinds = Counter(entry.kind for entry in left_out)

    def text(entry: LeftOut) -> str:
        return f"{entry.file}: {entry.detail}" if entry.detail and entry.kind != "hidden" else entry.file

    return "; ".join(
        f"{count:,} {kind} ({named(text(entry) for entry in left_out if entry.kind == kind)})" for kind, count in kinds.items()
    )
