"""Data folders for jobs over HTTP: those below the operator's data roots, and those that were uploaded as a ZIP."""

from __future__ import annotations

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
"""Folder in the first data root with what was uploaded; nothing else is ever deleted."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
"""What an upload may be called."""

MAX_DEPTH, MAX_FOLDERS, MAX_ENTRIES, MAX_SECONDS = 3, 200, 200_000, 2.0
"""Limits of one look at the data roots: depth, data folders, entries of folders, seconds."""

MAX_CLASSES = 100
"""Most classes of a folder that an answer names."""


class DataFolder(BaseModel):
    """A folder of images that a job may be given as `data: {name: folder, folder: ...}`.

    Attributes:
        folder: Path for the key `data.folder`, relative to the first data root.
        upload: Name of the upload, for DELETE /jobs/data/NAME; None for a folder of the operator.
        parts: Names of its parts, such as "train"; empty for class folders alone.
        classes: Number of images of each class, in all parts together, of the first 100 classes.
        class_count: Number of all classes.
        images: Number of images, by the endings of their names.
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
        folders: Sorted by their paths.
        complete: False where the look ended at a limit of time or number, so that folders or images may be missing.
    """

    folders: list[DataFolder]
    complete: bool


class _Look:
    """One look at folders, which ends at the limits."""

    def __init__(self) -> None:
        self.complete = True
        self._entries, self._end = 0, time.monotonic() + MAX_SECONDS

    def entries(self, folder: Path) -> tuple[list[Path], int]:
        """(the folders directly in `folder`, number of its images); no links, hidden names, or names that are no text."""
        folders, images = [], 0
        try:
            with os.scandir(folder) as found:
                for entry in found:
                    self._entries += 1
                    if self._entries > MAX_ENTRIES or time.monotonic() > self._end:
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
        waiting, images = [folder], 0
        while waiting and self.complete:
            folders, count = self.entries(waiting.pop())
            waiting += folders
            images += count
        return images

    def classes(self, folders: Sequence[Path]) -> dict[str, int]:
        """Number of images of each of these folders that directly holds some; empty where fewer than two do."""
        held = {folder: self.entries(folder) for folder in folders}
        counts = {
            folder.name: images + sum(map(self.images_below, below)) for folder, (below, images) in held.items() if images
        }
        return counts if len(counts) > 1 else {}


def list_folders(roots: Sequence[Path]) -> DataFolders:
    """Returns the folders below `roots` that hold class folders, alone or in the parts train, val and test.

    Links are not followed, so nothing outside the roots is seen. It ends at `MAX_DEPTH`, `MAX_FOLDERS`, `MAX_ENTRIES` and
    `MAX_SECONDS`.
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
    """(what is in `folder`, or None where that is no data, the folders in it)."""
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
    """Makes the upload `name` of the folder that `fill` writes; it appears whole or not at all.

    Args:
        root: The first data root.
        name: Name of the upload.
        stage: Hidden folder in `root / UPLOADS`, in which the new folder is filled.
        fill: Called with the path of the folder, which it makes.

    Raises:
        JobError: There is an upload of this name, or what was filled has no two class folders with images.
    """
    filled, target = stage / name, root / UPLOADS / name
    fill(filled)
    described, _ = _described(_Look(), filled, Path(os.path.realpath(root)))
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
    """Raises JobError where `name` is no name for an upload, or there is one of this name."""
    _check_name(name)
    if os.path.lexists(root / UPLOADS / name):
        raise JobError(f"there is an upload {name} already; take another name, or delete it by DELETE /jobs/data/{name}")


def remove_upload(root: Path, name: str) -> None:
    """Deletes the upload `name`.

    Raises:
        JobNotFoundError: There is no such upload.
        DataInUseError: A job that is running, or about to run, has its data in it.
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
    """Returns the ids of the jobs, not yet ended, whose data set is `folder`, lies in it, or contains it."""
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
    """Returns the size in bytes of all files below `folder`; those in hidden folders, such as unfinished uploads, left out."""
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
                        size += entry.stat(follow_symlinks=False).st_size
        except OSError:
            pass  # A folder or a file that is deleted meanwhile has no bytes.
    return size


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name) or is_hidden(name):
        raise JobError(f"{name[:60]!r} is no name for an upload: up to 60 letters, digits, dots, - and _ are, a letter first")
