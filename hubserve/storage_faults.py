"""Disks that are full, read-only or not permitted: which errors mean that, and the sentence for each.

`writing` names what is written where the error comes up; `storage_error` finds the fault in any error, however deep in its
causes, at the top of commands, of a job, of an export and of the service.
"""

import errno
import os
import pwd
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hubserve.errors import HubserveError, StorageError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Error numbers of a disk, or a quota, that is used up."""

FAULTS = FULL | {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EIO, errno.EFBIG, errno.EXDEV}
"""Error numbers that mean that a file system does not do what was asked, whatever was asked."""

_FULL_SIGNS = (
    "no space left on device",
    "disk quota exceeded",
    "os error 28",  # Libraries written in Rust.
    "os error 122",
    "pytorchstreamwriter failed writing",
    "iostream error",
    "database or disk is full",
)
"""How libraries say that a disk is full in errors that are no OSError, in lower case."""

_LITTLE = 1_000_000
"""Bytes below which a disk is called full where an error names no file."""

_AGAIN = "then run the same again: it goes on with what is there"

_ELSEWHERE = "HUBSERVE_HOME, BENTOML_HOME and TMPDIR name other folders"


def storage_error(error: BaseException | None, path: Path | None = None) -> StorageError | None:
    """The error to show instead of `error`; None where that is not about storage.

    An error that another one caused is replaced only where that is a full disk: otherwise its own sentence says more.

    Args:
        error: Any error; its causes are looked at, too.
        path: What was being written or read; None takes the file that the error names.
    """
    outermost = None if isinstance(error, HubserveError) else error
    while error is not None:
        if isinstance(error, StorageError):
            return error
        number = _fault(error)
        if number is not None and (number in FULL or error is outermost):
            named = getattr(error, "filename2", None) or getattr(error, "filename", None)  # Of a copy, the target.
            return _described(number, path or (Path(os.fsdecode(named)) if isinstance(named, (str, bytes)) else None))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


@contextmanager
def writing(path: Path, *, also: Collection[int] = ()) -> Iterator[None]:
    """Turns errors of the file system in the block into a StorageError; one that names a file keeps it, others get `path`.

    Args:
        path: What the block writes.
        also: Further error numbers that are no mistake of the caller's here.
    """
    try:
        yield
    except Exception as error:
        named = isinstance(error, OSError) and error.filename is not None
        found = storage_error(error, None if named else path)
        if isinstance(error, OSError) and error.errno in also:
            found = _described(error.errno or 0, path)
        if found is None or found is error:
            raise
        raise found from error


def free_bytes(path: Path) -> int | None:
    """Bytes that are free on the file system of `path`, or of the nearest folder above it; None where it cannot be read."""
    with suppress(OSError):
        return shutil.disk_usage(_existing(path)).free
    return None


def is_full(path: Path) -> bool:
    """Whether the file system of `path` is too full for a small file."""
    free = free_bytes(path)
    return free is not None and free < 2 * 4096


def describe_permissions(path: Path) -> str:
    """Which file or folder on the way to `path` keeps this process out, whose it is, and its mode."""
    found = _blocking(path)
    try:
        status = found.stat()
    except OSError:
        return f"{found} is not open to {_user(os.geteuid())}"
    return (
        f"{found} belongs to {_user(status.st_uid)} with mode {status.st_mode & 0o7777:04o}, and this is {_user(os.geteuid())}"
    )


def _fault(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in FAULTS else None
    text = str(error).lower()
    if isinstance(error, FileNotFoundError) and "usable temporary directory" in text:
        return errno.ENOSPC
    return errno.ENOSPC if any(sign in text for sign in _FULL_SIGNS) else None


def _described(number: int, path: Path | None) -> StorageError:
    if number in FULL:
        return StorageError(_full(path or _fullest()), number)
    at = "a file" if path is None else str(path)
    if number == errno.EROFS:
        text = f"cannot write {at}: its file system is read-only; {_ELSEWHERE}"
    elif number in (errno.EACCES, errno.EPERM) and path is not None:
        text = (
            f"no permission for {at}: {describe_permissions(path)}; its owner may open it (chmod -R a+rX to read), "
            f"or {_ELSEWHERE}"
        )
    elif number == errno.ENOTDIR and path is not None:
        text = f"{at}: {_existing(path)} is a file where a folder is needed; {_ELSEWHERE}"
    else:
        text = f"{at}: {os.strerror(number)}; {_ELSEWHERE}"
    return StorageError(text, number)


def _full(path: Path | None) -> str:
    if path is None:
        return f"cannot write a file: no space is left on its disk, or no quota; free some, {_AGAIN}; or {_ELSEWHERE}"
    free = free_bytes(path)
    left = "" if free is None else f" ({free / 1e6:.1f} MB are free there)"
    return f"cannot write {path}: no space is left on its disk, or no quota{left}; free some, {_AGAIN}; or {_ELSEWHERE}"


def _fullest() -> Path | None:
    """The folder with the least free space of those that are written to, where that is little; None otherwise."""
    given = [os.environ.get(name) for name in ("TMPDIR", "HUBSERVE_HOME", "BENTOML_HOME")]
    folders = [Path(folder) for folder in given if folder] + [Path(tempfile.tempdir or "/tmp"), Path.cwd()]
    known = [(free, folder) for folder in folders if (free := free_bytes(folder)) is not None]
    free, folder = min(known, default=(_LITTLE, Path()))
    return folder if free < _LITTLE else None


def _existing(path: Path) -> Path:
    """`path`, or the nearest one above it that exists."""
    for found in (path, *path.absolute().parents):
        with suppress(OSError):
            if found.exists():
                return found
    return Path("/")


def _blocking(path: Path) -> Path:
    """The first part of `path` that this process may not enter, read, or write."""
    path = path.absolute()
    for folder in reversed(path.parents):
        if folder.exists() and not os.access(folder, os.X_OK):
            return folder
    found = _existing(path)
    return found if not os.access(found, os.R_OK | os.W_OK) or found == path else path.parent


def _user(number: int) -> str:
    try:
        return f"user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"user {number}"
