"""Data folders for jobs over HTTP: lists those below the data roots, and adds and removes those that are uploaded."""

from __future__ import annotations

import math
import os
import re
import secrets
import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel

from hubserve import jobs
from hubserve.errors import DataInUseError, JobError, JobNotFoundError
from hubserve.image_names import PART_NAMES, SUFFIXES, is_hidden

UPLOADS = "uploads"
"""Name of the folder in the first data root that holds the uploads. Nothing outside of it is ever deleted."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
"""Pattern of the name of an upload."""

MAX_DEPTH, MAX_FOLDERS, MAX_ENTRIES, MAX_SECONDS = 3, 200, 200_000, 2.0
"""Limits of one search for data folders: the depth below a root, data folders, folder entries, and seconds."""

MAX_CLASSES = 100
"""Largest number of classes of a data folder that are named."""


class DataFolder(BaseModel):
    """A folder of images that a job may use as `data: {name: folder, folder: ...}`.

    Attributes:
        folder: Path for the key `data.folder`, relative to the first data root.
        upload: Name of the upload, for DELETE /jobs/data/NAME; None if the folder was not uploaded.
        parts: Names of its folders for training, validation and test, such as "train"; empty if the class folders are directly
            in it.
        classes: Number of images of each class, in all parts together; of the first 100 classes by name.
        class_count: Number of all classes.
        images: Number of images in all classes, counted by file name extension.
    """

    folder: str
    upload: str | None
    parts: list[str]
    classes: dict[str, int]
    class_count: int
    images: int


class DataFolders(BaseModel):
    """The data folders that were found.

    Attributes:
        folders: Data folders, sorted by path.
        complete: False if the search was ended by a limit, so that folders or images may be missing.
    """

    folders: list[DataFolder]
    complete: bool


class _Look:
    """One search for data folders.

    Attributes:
        complete: False if the search was ended by a limit.
    """

    def __init__(self, *, limited: bool = True) -> None:
        """If `limited` is False, no limit ends the search."""
        self.complete = True
        self._left: float = MAX_ENTRIES if limited else math.inf
        self._end = time.monotonic() + MAX_SECONDS if limited else math.inf

    def entries(self, folder: Path) -> tuple[list[Path], int]:
        """Returns (the folders directly in `folder`, the number of images directly in it).

        Links, hidden names and names with unprintable characters are left out. A folder that cannot be read has none of either.
        If `MAX_ENTRIES` or `MAX_SECONDS` is exceeded, sets `complete` to False and returns what was found before.
        """
        folders, images = [], 0
        try:
            with os.scandir(folder) as found:
                for entry in found:
                    self._left -= 1
                    if self._left < 0 or time.monotonic() > self._end:
                        self.complete = False
                        break
                    if is_hidden(entry.name) or not entry.name.isprintable():
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(folder / entry.name)
                    elif entry.is_file(follow_symlinks=False):
                        images += os.path.splitext(entry.name)[1].lower() in SUFFIXES
        except OSError:
            pass  # A folder that is gone, or that this process may not read, has nothing for a job.
        return sorted(folders), images

    def images_below(self, folder: Path) -> int:
        """Returns the number of images in `folder`, at any depth; too few if a limit ends the search."""
        waiting, images = [folder], 0
        while waiting and self.complete:
            folders, count = self.entries(waiting.pop())
            waiting += folders
            images += count
        return images

    def classes(self, folders: Sequence[Path]) -> dict[str, int]:
        """Returns the number of images of each class folder by its name; empty if there are fewer than two.

        A class folder is one of `folders` that directly contains an image; its images at any depth are counted.
        """
        held = {folder: self.entries(folder) for folder in folders}
        counts = {
            folder.name: images + sum(map(self.images_below, below)) for folder, (below, images) in held.items() if images
        }
        return counts if len(counts) > 1 else {}


def list_folders(roots: Sequence[Path]) -> DataFolders:
    """Returns the data folders at and below `roots`: those with two or more class folders, directly or in a part such as train.

    A class folder directly contains an image. Folders below a data folder are not searched for others. Symbolic links below a
    root are not followed, so that nothing outside the roots is found. The search is limited by `MAX_DEPTH`, `MAX_FOLDERS`,
    `MAX_ENTRIES` and `MAX_SECONDS`.

    Args:
        roots: Data roots, at least one. Roots that do not exist contain nothing.
    """
    look, found = _Look(), {}
    waiting = deque((Path(os.path.realpath(root)), 0) for root in roots)
    first = Path(os.path.realpath(roots[0]))
    while waiting and look.complete:
        folder, depth = waiting.popleft()
        described, below = _described(look, folder, first)
        if described is not None:
            found[described.folder] = described
            if len(found) >= MAX_FOLDERS:
                look.complete = False
        elif depth < MAX_DEPTH:
            waiting.extend((path, depth + 1) for path in below)
    return DataFolders(folders=[found[name] for name in sorted(found)], complete=look.complete)


def _described(look: _Look, folder: Path, first: Path) -> tuple[DataFolder | None, list[Path]]:
    """Returns (the data folder at `folder`, or None if it is not one; the folders directly in it)."""
    below, _ = look.entries(folder)
    in_parts = {path: look.entries(path)[0] for path in below if path.name.casefold() in PART_NAMES}
    parts = {path: look.classes(folders) for path, folders in in_parts.items()}
    if any(PART_NAMES[path.name.casefold()] == "train" and counts for path, counts in parts.items()):
        classes: dict[str, int] = {}
        for counts in parts.values():
            for name, count in counts.items():
                classes[name] = classes.get(name, 0) + count
        names = [path.name for path, counts in parts.items() if counts]
    else:
        classes, names = look.classes(below), []
    if not classes:
        return None, below
    shown = dict(sorted(classes.items())[:MAX_CLASSES])
    upload = folder.name if folder.parent == first / UPLOADS else None
    described = DataFolder(
        folder=os.path.relpath(folder, first), upload=upload, parts=names, classes=shown, class_count=len(classes),
        images=sum(classes.values()),
    )  # fmt: skip
    return described, below


def add_upload(root: Path, name: str, stage: Path, fill: Callable[[Path], None]) -> DataFolder:
    """Adds an upload, which `fill` writes to a hidden folder first, and returns it. It appears as a whole or not at all.

    Args:
        root: The first data root.
        name: Name of the upload.
        stage: Hidden folder in `root / UPLOADS` in which the new folder is filled.
        fill: Function that creates the folder with the given path and writes the images into it. Its exceptions are passed on.

    Raises:
        JobError: The name is not allowed, there is an upload of this name (both are found before anything is written, and
            once more at the end), or `fill` wrote fewer than two class folders with images. The caller removes `stage`.
        OSError: The folder cannot be renamed to its final name.
    """
    check_free(root, name)
    filled, target = stage / name, root / UPLOADS / name
    fill(filled)
    described, _ = _described(_Look(limited=False), filled, Path(os.path.realpath(root)))
    if described is None:
        raise JobError("the ZIP has no class folders: it needs two or more folders with images, or train/ with such folders")
    check_free(root, name)
    try:
        os.rename(filled, target)
    except OSError as error:
        check_free(root, name)
        raise error
    return described.model_copy(update={"folder": f"{UPLOADS}/{name}", "upload": name})


def check_free(root: Path, name: str) -> None:
    """Checks that a new upload may have the name `name`.

    Raises:
        JobError: The name is not allowed, or there is an upload of this name.
    """
    _check_name(name)
    if os.path.lexists(root / UPLOADS / name):
        raise JobError(f"there is an upload {name} already; take another name, or delete it by DELETE /jobs/data/{name}")


def remove_upload(root: Path, name: str) -> None:
    """Deletes the upload `name`. Files that cannot be deleted stay under a hidden name.

    Raises:
        JobNotFoundError: There is no such upload.
        DataInUseError: A job that has not ended uses it; see `jobs_using`.
        OSError: The folder cannot be renamed, or the jobs cannot be listed (StorageError).
        OutputError: No folder can serve as HUBSERVE_HOME.
    """
    folder = root / UPLOADS / name
    if not NAME.fullmatch(name) or folder.is_symlink() or not folder.is_dir():
        raise JobNotFoundError(f"there is no upload {name[:60]!r}; GET /jobs/data lists them")
    users = jobs_using(folder)
    if users:
        raise DataInUseError(
            f"the upload {name} is used by {', '.join(users)}: delete it when that is over, or stop it by DELETE /jobs/{{id}}"
        )
    # Hidden first, so that no job starts with a half of it.
    hidden = folder.with_name(f".{name}.{secrets.token_hex(4)}.deleted")
    with suppress(FileNotFoundError):  # Another request deletes it.
        folder.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def jobs_using(folder: Path) -> list[str]:
    """Returns the ids of the jobs that have not ended and whose data set is `folder`, lies in it or contains it.

    Jobs whose state or definition cannot be read are left out.

    Raises:
        StorageError: This user may not list the folder of runs.
        OutputError: No folder can serve as HUBSERVE_HOME.
    """
    wanted, found = Path(os.path.realpath(folder)), []
    for run in jobs.list_runs():
        try:
            if jobs.read_summary(run).state in jobs.FINAL:
                continue
            data = jobs.parse_job(run.definition(), where=run.id).data
        except JobError:  # A definition that cannot be read is not run.
            continue
        place = data.folder or data.file
        if place is None:
            continue
        used = Path(os.path.realpath(run.where / place.expanduser()))
        if used.is_relative_to(wanted) or wanted.is_relative_to(used):
            found.append(run.id)
    return found


def bytes_in(folder: Path) -> int:
    """Returns the size in bytes of all files in `folder`, at any depth.

    Hidden files and folders, such as unfinished uploads, do not count, and neither does what cannot be read.
    """
    size, waiting = 0, [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                for entry in found:
                    if is_hidden(entry.name):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    else:
                        with suppress(FileNotFoundError):  # Deleted meanwhile.
                            size += entry.stat(follow_symlinks=False).st_size
        except OSError:
            pass  # So may be the folder.
    return size


def _check_name(name: str) -> None:
    """Checks the name of an upload. Raises JobError if it is not allowed."""
    if not NAME.fullmatch(name) or is_hidden(name):
        raise JobError(f"{name[:60]!r} is no name for an upload: 1 to 60 letters, digits, dots, - and _, no dot, - or _ first")
