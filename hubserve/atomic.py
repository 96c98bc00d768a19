"""Writes files and folders atomically: under a hidden name first, which is then renamed to the final one.

Readers see either the old content or the new one, also after a process was killed by SIGKILL. Nothing is synchronised with
the disk (no fsync), so there is no such guarantee when the machine itself crashes or loses power.
"""

import errno
import hashlib
import os
import platform
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hubserve.storage_faults import writing

STAGED_VARIABLE = "HUBSERVE_STAGED"
"""Environment variable with the path of a file to which processes append the hidden paths that they write, one a line.

`remove_staged` reads that file to clean up after processes that were killed.
"""

_HIDDEN = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)-(?P<place>[0-9a-f]{8})\.[^/]+")
"""Hidden names: what is written, and the process that writes it."""

_OLD = ".old"
"""End of the hidden name under which `replace_folder` keeps the old folder until the new one is in place."""

_cleaned: set[str] = set()
"""Folders in which this process has removed what processes that ended left."""


def write_atomic(path: Path, content: str | bytes, *, staging: Path | None = None) -> None:
    """Writes or replaces a file in one step.

    Args:
        path: File to write; its folder must exist.
        content: New content of the file; text is written as UTF-8.
        staging: Existing folder on the same disk for the unfinished file; None takes the folder of `path`.

    Raises:
        OSError: The folder does not exist, or the file cannot be written (StorageError for a full, read-only or forbidden
            disk). The old file is unchanged then, and no unfinished file is left.
    """
    with staged_file(path, staging=staging) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def staged_file(path: Path, *, staging: Path | None = None) -> Iterator[Path]:
    """Yields the path of a hidden file for the block to write; it replaces `path` when the block ends.

    If the block raises, the hidden file is removed and `path` stays unchanged.

    Args:
        path: File to write or replace; its folder must exist.
        staging: Existing folder on the same disk for the hidden file; None takes the folder of `path`.

    Raises:
        OSError: The hidden file does not exist at the end of the block, or the disk is full, read-only or forbidden
            (StorageError).
    """
    # The suffix is kept, as libraries choose a file format by it.
    name = f".{path.stem}.{_writer()}.{threading.get_ident()}{path.suffix}"
    _remove_left(staging or path.parent)
    unfinished = (staging or path.parent) / name
    _note_staged(unfinished)
    try:
        with writing(path):
            yield unfinished
            _replace(unfinished, path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


@contextmanager
def staged_result(path: Path) -> Iterator[Path]:
    """Yields the path to which the block writes an output file that the user named.

    For a regular or a new file this is `staged_file`. If `path` is a symbolic link, the link is kept and its target is
    replaced. A device or a pipe, such as /dev/stdout, is written to directly.

    Raises:
        OSError: The file cannot be written (StorageError for a full, read-only or forbidden disk).
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        with writing(path):
            yield path
    else:
        with staged_file(path) as unfinished:
            yield unfinished


@contextmanager
def staged_folder(parent: Path, name: str) -> Iterator[Path]:
    """Yields a new hidden folder, which the block fills and renames to its final name.

    If the block has not renamed the folder when it ends or raises, the folder is removed.

    Args:
        parent: Folder in which the new folder is made; it is created if it does not exist.
        name: Name that becomes a part of the hidden name, so that a folder left by a killed process can be recognised.

    Raises:
        OSError: The folder cannot be made or written (StorageError for a full, read-only or forbidden disk).
    """
    with writing(parent / name, also=(errno.ENOENT,)):
        parent.mkdir(parents=True, exist_ok=True)
        _remove_left(parent)
        stage = Path(tempfile.mkdtemp(prefix=f".{name}.{_writer()}.", dir=parent))
    _note_staged(stage)
    try:
        stage.chmod(0o755)  # mkdtemp permits access to this user only (mode 0o700).
        with writing(parent / name):
            yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def apply_umask(folder: Path) -> None:
    """Gives a folder, and the files and folders directly in it, the permissions that new ones get by this process's umask.

    Libraries that write through temporary files leave what only this user can read. Files lose the permission to execute.

    Raises:
        OSError: A permission cannot be changed.
    """
    mask = os.umask(0o077)
    os.umask(mask)
    folder.chmod(0o777 & ~mask)
    for path in folder.iterdir():
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def renamed(path: Path, target: Path) -> bool:
    """Renames `path` to `target` and returns True; returns False, and changes nothing, if they are on different file systems.

    Raises:
        OSError: The rename failed for another reason.
    """
    try:
        os.rename(path, target)  # POSIX: an existing file `target` is replaced.
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


def replace_folder(stage: Path, folder: Path) -> None:
    """Renames the folder `stage` to `folder`; an existing folder of that name is removed once the new one is in place.

    Raises:
        OSError: The folder cannot be moved, and an existing one is back in its place; or the existing one was replaced, and
            cannot be removed completely.
    """
    if not folder.exists():
        move_folder(stage, folder)
        return
    old = stage.with_name(stage.name + _OLD)
    move_folder(folder, old)
    try:
        move_folder(stage, folder)
    except OSError:
        move_folder(old, folder)
        raise
    shutil.rmtree(old)


def move_folder(folder: Path, target: Path) -> None:
    """Moves `folder` to `target`, which must not exist; it appears there in one step, also on another file system.

    Between two file systems the folder is copied to a hidden folder beside `target`, which is then renamed.

    Raises:
        OSError: The folder cannot be moved, or `target` exists and is not an empty folder; `folder` is unchanged then.
    """
    if not renamed(folder, target):
        with staged_folder(target.parent, target.name) as stage:
            shutil.copytree(folder, stage / target.name, symlinks=True)
            os.rename(stage / target.name, target)
        shutil.rmtree(folder, ignore_errors=True)


def _replace(unfinished: Path, path: Path) -> None:
    """Renames `unfinished` to `path`; on another file system, a copy of it beside `path` is renamed instead."""
    if not renamed(unfinished, path):
        with staged_file(path) as beside:
            shutil.copyfile(unfinished, beside)
        unfinished.unlink()


def remove_staged(notes: Path) -> None:
    """Removes the unfinished files and folders that killed processes left. Errors of the file system are ignored.

    Args:
        notes: File with their paths, one a line: the one that the variable `HUBSERVE_STAGED` of these processes named.
    """
    with suppress(OSError):
        for line in set(notes.read_text("utf-8").splitlines()):
            path = Path(line)
            if not path.name.startswith("."):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _writer() -> str:
    """Names this process: its id, and a hash of where the id is valid, as several containers may share a folder."""
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        namespace = 0
    place = hashlib.sha256(f"{platform.node()} {namespace}".encode()).hexdigest()[:8]
    return f"{os.getpid()}-{place}"


def _remove_left(folder: Path) -> None:
    """Removes the hidden files and folders of processes that have ended, once for each folder and process.

    A folder that such a process had moved away to replace it is moved back, unless the new one is in place. Errors of the file
    system are ignored.
    """
    if str(folder) in _cleaned:
        return
    _cleaned.add(str(folder))
    _, _, place = _writer().partition("-")
    with suppress(OSError):
        # Old folders last: what they are moved back to must not be there.
        for name in sorted(os.listdir(folder), key=lambda name: name.endswith(_OLD)):
            found = _HIDDEN.fullmatch(name)
            if found is None or found["place"] != place or _is_alive(int(found["pid"])):
                continue
            left, target = folder / name, folder / found["name"]
            if name.endswith(_OLD) and left.is_dir() and not target.exists():
                with suppress(OSError):
                    left.rename(target)
            elif left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                with suppress(OSError):
                    left.unlink()


def _is_alive(pid: int) -> bool:
    """Returns whether a process with this id exists; an id that was given to another process counts, too."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _note_staged(path: Path) -> None:
    notes = os.environ.get(STAGED_VARIABLE)
    if notes:
        # Each line is appended in a single write, so that lines of several processes are not mixed.
        with suppress(OSError), open(notes, "a", encoding="utf-8") as file:
            file.write(f"{path.absolute()}\n")
