"""Finds the image files below a folder, and lists the files that are left out with the reason for each."""

import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hubserve.data.file_kind import IMAGES, FileKind
from hubserve.data.names import shown
from hubserve.image_names import is_hidden

_USUAL_ENDING = re.compile(r"\.[a-z][a-z0-9]{0,5}")
"""Pattern of the file name suffixes that the `kind` of a left-out file names. Files with other suffixes share one kind, since
such suffixes may differ for every file."""

MOST_NAMED = 5
"""Largest number of files that a message lists by name."""


class LeftOut(NamedTuple):
    """A file or folder of the data set that is not used, with the reason.

    Attributes:
        file: Path relative to the folder of the data set, escaped for printing.
        kind: Short reason by which left-out files are grouped and counted, such as "hidden", "ending .heic", "unreadable".
        detail: Further explanation for this file; empty if `kind` says everything.
    """

    file: str
    kind: str
    detail: str = ""


class Walk(NamedTuple):
    """The files and folders that `walk` found below a folder.

    Attributes:
        images: Sorted paths of the image files, at any depth; a file counts as an image by the suffix of its name.
        left_out: All other files. A hidden folder is one entry, and so is a folder that cannot be read.
        folders: Sorted names of the folders directly in the searched folder, without hidden ones.
        direct: Number of image files directly in the searched folder.
    """

    images: list[Path]
    left_out: list[LeftOut]
    folders: list[str]
    direct: int


def walk(folder: Path, root: Path | None = None, *, kind: FileKind = IMAGES) -> Walk:
    """Searches a folder and all its sub-folders for files of a kind, and returns the files and folders that it found.

    Symbolic links are followed. Each folder is read only once: a further link to it, or a link to a folder that contains the
    link, is listed in `Walk.left_out`.

    Args:
        folder: Folder to search.
        root: Folder to which the paths in `left_out` are relative; None uses `folder`.
        kind: Kind of the files that are searched for, and that the attribute `images` of the result has.

    Raises:
        OSError: `folder` itself cannot be read.
    """
    found = Walk([], [], [], 0)
    for entry in walk_entries(folder, root, on_folder=lambda place: found.folders.append(place.name), kind=kind):
        if isinstance(entry, LeftOut):
            found.left_out.append(entry)
        else:
            found.images.append(entry)
    found.images.sort()
    found.left_out.sort()
    found.folders.sort()
    return found._replace(direct=sum(path.parent == folder for path in found.images))


def walk_entries(
    folder: Path,
    root: Path | None = None,
    *,
    on_folder: Callable[[Path], None] = lambda place: None,
    kind: FileKind = IMAGES,
) -> Iterator[Path | LeftOut]:
    """Yields what `walk` finds, one after the other: the path of each image, and a `LeftOut` for each other file.

    The order is the same each time; folders come after the files beside them, and symbolic links to folders last. Memory
    grows with the number of folders and with that of the files in one folder, but not with the number of all files.

    Args:
        folder: Folder to search.
        root: Folder to which the paths of `LeftOut` are relative; None uses `folder`.
        on_folder: Called with each folder directly in `folder`.
        kind: Kind of the files that are searched for.

    Raises:
        OSError: `folder` itself cannot be read.
    """
    base = root or folder

    def left(path: Path, kind: str, detail: str = "") -> LeftOut:
        return LeftOut(shown(path.relative_to(base)), kind, detail)

    # Links last, and no recursion: folders may be nested deeper than Python's stack.
    folders, links, seen = [folder], deque[Path](), set[tuple[int, int]]()
    while folders or links:
        place = folders.pop() if folders else links.popleft()
        try:
            status = place.stat()
            if (status.st_dev, status.st_ino) in seen:
                yield left(place, "link to a folder that is read already")
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(place) as entries:
                content = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if place == folder:
                raise
            yield left(place, "unreadable", f"the folder cannot be opened: {error.strerror}")
            content = []
        if place.parent == folder:
            on_folder(place)
        below: list[Path] = []
        for entry in content:
            path = place / entry.name
            if is_hidden(entry.name):
                yield left(path, "hidden")
            elif _is_folder(entry):
                (links if entry.is_symlink() else below).append(path)
            elif (problem := _file_problem(entry, path, kind)) is not None:
                yield left(path, *problem)
            else:
                yield path
        folders += reversed(below)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def folder_names(folder: Path) -> list[str]:
    """Returns the sorted names of the folders directly in `folder`, without hidden ones; an empty list if it is not a folder.

    Raises:
        OSError: The folder cannot be read.
    """
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not is_hidden(entry.name))


def _file_problem(entry: os.DirEntry[str], path: Path, kind: FileKind) -> tuple[str, str] | None:
    try:
        if not entry.is_file():
            broken = entry.is_symlink() and not path.exists()
            return ("link to nothing", os.readlink(path)) if broken else ("not a regular file", "")
    except OSError as error:
        return "unreadable", str(error.strerror)
    return ending_problem(path, kind)


def ending_problem(path: Path, kind: FileKind = IMAGES) -> tuple[str, str] | None:
    """Returns None if the suffix of a file is one of its kind; else the reason, as `kind` and `detail` of a `LeftOut`."""
    suffix = path.suffix.lower()
    if suffix in kind.suffixes:
        return None
    if suffix in (".heic", ".heif"):
        return f"ending {suffix}", "not read: convert it to JPEG"
    return (f"ending {suffix}", "") if _USUAL_ENDING.fullmatch(suffix) else ("without a usual ending", "")


def named(files: Iterable[str]) -> str:
    """Returns the first `MOST_NAMED` files and the number of the others as text: `a.jpg, b.jpg and 7 more`."""
    found = list(files)
    rest = len(found) - MOST_NAMED
    return ", ".join(found[:MOST_NAMED]) + (f" and {rest:,} more" if rest > 0 else "")


def left_out_text(left_out: Sequence[LeftOut]) -> str:
    """Returns a text with the number and the first names of the left-out files of each kind.

    An example is `2 hidden (a/.1.jpg, a/.2.jpg)`.
    """
    kinds = Counter(entry.kind for entry in left_out)

    def text(entry: LeftOut) -> str:
        return f"{entry.file}: {entry.detail}" if entry.detail else entry.file

    return "; ".join(
        f"{count:,} {kind} ({named(text(entry) for entry in left_out if entry.kind == kind)})" for kind, count in kinds.items()
    )
