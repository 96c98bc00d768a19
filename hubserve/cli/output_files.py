"""Checks, before work that takes long, that the file or folder for its result can be written."""

import os
from pathlib import Path

from hubserve.errors import OutputError
from hubserve.storage_faults import describe_permissions, is_there


def check_writable(path: Path | None) -> None:
    """Checks that a file can be written at `path`, before work whose result is written there. None is accepted.

    A file is replaced by a new one in its folder, so the folder must be writable; a device is written to itself.

    Raises:
        OutputError: The path is a folder, its folder does not exist, or there is no permission to write.
    """
    if path is None:
        return
    path = Path(os.path.realpath(path))  # Of a link, the target is replaced.
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder")
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}")
    _check_access(path, path if path.exists() and not path.is_file() else path.parent)


def check_folder_writable(folder: Path) -> None:
    """Raises OutputError where `folder`, or the nearest one above it that exists, can get no new file.

    Called before the work whose result is written there; the folder itself is not made.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if is_there(path))
    if not existing.is_dir():
        raise OutputError(f"cannot write into {folder}: {existing} is a file")
    _check_access(folder, existing)


def _check_access(path: Path, opened: Path) -> None:
    if not os.access(opened, os.W_OK | os.X_OK if opened.is_dir() else os.W_OK):
        read_only = os.statvfs(opened).f_flag & os.ST_RDONLY
        why = "its file system is read-only" if read_only else describe_permissions(opened)
        raise OutputError(f"cannot write {path}: {opened} is not writable: {why}")
