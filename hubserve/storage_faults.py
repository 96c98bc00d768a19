"""Recognises errors of full, read-only or forbidden disks, and turns them into a StorageError with a clear message.

`writing` does so around the code that writes a certain file. `storage_error` finds such a fault in any exception or its chain
of causes; commands, jobs, exports and the service call it for exceptions that they did not expect.
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
"""Error numbers of a full disk and of an exhausted quota."""

FAULTS = FULL | {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EIO, errno.EFBIG, errno.EXDEV}
"""Error numbers that count as a fault of the storage rather than of the code that reads or writes."""

DENIED = frozenset({errno.EACCES, errno.EPERM})
"""Error numbers of a file or folder that is not open to this user."""

_FULL_SIGNS = (
    "no space left on device",
    "disk quota exceeded",
    "os error 28",  # Libraries written in Rust.
    "os error 122",
    "pytorchstreamwriter failed writing",
    "iostream error",
    "database or disk is full",
)
"""Parts, in lower case, of the messages with which libraries report a full disk by other exceptions than OSError."""

_LITTLE = 1_000_000
"""Free bytes below which a disk is named as the full one, if an error does not name a file."""

_AGAIN = "then run the same again: it goes on with what is there"

_OPEN = "its owner may open it (chmod -R a+rX to read)"

_ELSEWHERE = "HUBSERVE_HOME, BENTOML_HOME and TMPDIR name other folders"


def storage_error(error: BaseException | None, path: Path | None = None) -> StorageError | None:
    """Returns the StorageError to report in place of `error`; None if `error` was not caused by the storage.

    If `error` itself is a fault of the storage and not an exception of hubserve, it is replaced. Among its causes only a full
    disk is looked for, because for other faults the message of `error` says more. A StorageError in the chain is returned.

    Args:
        error: Any exception; its chain of causes is searched, too. None returns None.
        path: File that was written or read; None takes the one that the error names.
    """
    outermost = None if isinstance(error, HubserveError) else error
    while error is not None:
        if isinstance(error, StorageError):
            return error
        number = _fault(error)
        if number is not None and (number in FULL or error is outermost):
            named = getattr(error, "filename2", None) or getattr(error, "filename", None)  # filename2 is a rename's target.
            return _described(number, path or (Path(os.fsdecode(named)) if isinstance(named, (str, bytes)) else None))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


@contextmanager
def writing(path: Path, *, also: Collection[int] = ()) -> Iterator[None]:
    """Context manager that turns faults of the storage in its block into a StorageError; other errors are passed on.

    Args:
        path: File that the block writes, for the message of errors that do not name a file.
        also: Error numbers that count as a fault of the storage here in addition to `FAULTS`.

    Raises:
        StorageError: The block raised an error that a full, read-only or forbidden disk caused.
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
    """Returns the free bytes of the file system of `path`, or of its nearest existing parent; None if they cannot be read."""
    with suppress(OSError):
        return shutil.disk_usage(_existing(path)).free
    return None


def is_full(path: Path) -> bool:
    """Returns whether the file system of `path` has less than 8 KiB free, too little for a small file."""
    free = free_bytes(path)
    return free is not None and free < 2 * 4096


def denied(path: Path) -> str:
    """Returns why this process may not read a file or list a folder; empty where it may, and where nothing is there."""
    try:
        # Without O_NONBLOCK, opening a pipe would wait for a process that writes to it.
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return denial(error, path)
    return ""


def denial(error: BaseException | None, path: Path | None = None) -> str:
    """Returns whose file or folder it is that `error`, or a cause of it, could not read; empty for other errors.

    Args:
        error: Any error, or None.
        path: What was being read; None takes the file that the error names.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in DENIED:
            named = path or (Path(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes)) else None)
            return "" if named is None else f"{describe_permissions(named)}; {_OPEN}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return ""


def with_denial(message: str, error: BaseException) -> str:
    """Returns `message`, followed by `denial(error)` unless `message` has such a text already or `error` is a StorageError."""
    why = "" if isinstance(error, StorageError) else denial(error)
    return f"{message}; {why}" if why and _OPEN not in message else message


def is_there(path: Path) -> bool:
    """Returns whether a file or folder exists; True also where this process may not look, as an attempt to read it says why."""
    try:
        path.stat()
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def describe_permissions(path: Path) -> str:
    """Returns a phrase that names the file or folder that denies access to `path`, its owner, its mode, and this user."""
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
    elif number in DENIED and path is not None:
        text = f"no permission for {at}: {describe_permissions(path)}; {_OPEN}, or {_ELSEWHERE}"
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
    """Returns the folder with the least free space of those that hubserve writes to; None if it has `_LITTLE` or more."""
    given = [os.environ.get(name) for name in ("TMPDIR", "HUBSERVE_HOME", "BENTOML_HOME")]
    folders = [Path(folder) for folder in given if folder] + [Path(tempfile.tempdir or "/tmp"), Path.cwd()]
    known = [(free, folder) for folder in folders if (free := free_bytes(folder)) is not None]
    free, folder = min(known, default=(_LITTLE, Path()))
    return folder if free < _LITTLE else None


def _existing(path: Path) -> Path:
    """Returns `path` if it exists, and else its nearest parent that exists."""
    for found in (path, *path.absolute().parents):
        with suppress(OSError):
            if found.exists():
                return found
    return Path("/")


def _blocking(path: Path) -> Path:
    """Returns the first folder on the way to `path` that this process may not enter, or else `path` or its nearest parent."""
    path = path.absolute()
    for folder in reversed(path.parents):
        if folder.exists() and not _may(folder, os.X_OK):
            return folder
    found = _existing(path)
    return found if not _may(found, os.R_OK | os.W_OK) or found == path else path.parent


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _user(number: int) -> str:
    try:
        return f"user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"user {number}"
