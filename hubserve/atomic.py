"""Files and folders that appear whole or not at all: written under another name, then renamed.

A reader, and whatever is left after a `kill -9`, has the old content or the new one. Nothing is synchronised with the disk:
when the machine itself stops, the file system decides what is there.
"""

import errno
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hubserve.storage_faults import writing

STAGED_VARIABLE = "HUBSERVE_STAGED"
"""Environment variable that names the file in which processes note what they have not finished yet, for `remove_staged`."""


def write_atomic(path: Path, content: str | bytes, *, staging: Path | None = None) -> None:
    """Replaces a file in one step.

    Args:
        path: The file; its folder must exist.
        content: What the file is to hold; text is written as UTF-8.
        staging: See `staged_file`.

    Raises:
        OSError: It cannot be written, or there is no such folder; the old file is as it was, and nothing lies beside it.
    """
    with staged_file(path, staging=staging) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def staged_file(path: Path, *, staging: Path | None = None) -> Iterator[Path]:
    """Gives the name of a hidden file to write; afterwards it replaces `path`, or is removed where the block raised.

    Args:
        path: The file to replace.
        staging: An existing folder on the same disk for the unfinished file; None for the folder of `path`.
    """
    # The suffix is kept: libraries choose a format by it.
    name = f".{path.stem}.{os.getpid()}.{threading.get_ident()}{path.suffix}"
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
    """Gives the name to write a file that the user named; it behaves like `staged_file` for a regular file.

    A link stays, and its target is replaced. A device or a pipe is written to directly.
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
    """A new hidden folder to fill and then rename; what is still under its first name afterwards is removed.

    Args:
        parent: The folder that it is made in, and is to be renamed within; made where it is missing.
        name: Part of the hidden name, for whoever finds it after a kill.
    """
    with writing(parent / name, also=(errno.ENOENT,)):
        parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=parent))
    _note_staged(stage)
    try:
        stage.chmod(0o755)  # mkdtemp gives it to this user alone.
        with writing(parent / name):
            yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def renamed(path: Path, target: Path) -> bool:
    """Renames `path` to `target`. Returns False, and changes nothing, if they are on different file systems."""
    try:
        os.rename(path, target)  # POSIX: a file there is replaced.
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


def replace_folder(stage: Path, folder: Path) -> None:
    """Renames `stage` to `folder`. A folder of that name is removed afterwards, or put back where the rename fails."""
    if not folder.exists():
        move_folder(stage, folder)
        return
    old = stage.with_name(stage.name + ".old")
    move_folder(folder, old)
    try:
        move_folder(stage, folder)
    except OSError:
        move_folder(old, folder)
        raise
    shutil.rmtree(old)


def move_folder(folder: Path, target: Path) -> None:
    """Renames a folder to a name that does not exist; between two file systems it is copied, and appears there in one step.

    Raises:
        OSError: It cannot be moved, or the target exists; then the folder is where it was.
    """
    if not renamed(folder, target):
        with staged_folder(target.parent, target.name) as stage:
            shutil.copytree(folder, stage / target.name, symlinks=True)
            os.rename(stage / target.name, target)
        shutil.rmtree(folder, ignore_errors=True)


def _replace(unfinished: Path, path: Path) -> None:
    """Renames `unfinished` to `path`; between two file systems a copy beside `path` is renamed."""
    if not renamed(unfinished, path):
        with staged_file(path) as beside:
            shutil.copyfile(unfinished, beside)
        unfinished.unlink()


def remove_staged(notes: Path) -> None:
    """Removes the unfinished files and folders of processes that were killed.

    Args:
        notes: The file that `HUBSERVE_STAGED` named in their environment.
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


def _note_staged(path: Path) -> None:
    notes = os.environ.get(STAGED_VARIABLE)
    if notes:
        # One write of one line: processes that append at the same time do not mix their lines.
        with suppress(OSError), open(notes, "a", encoding="utf-8") as file:
            file.write(f"{path.absolute()}\n")
