"""SHA-256 hashes of the files of a package: `file_entry` for the manifest, `hash_file`, and `hash_once`, which remembers."""

import hashlib
from pathlib import Path

from hubserve.package.manifest import FileEntry

_hashes: dict[tuple[int, ...], str] = {}
"""The hashes that `hash_once` has computed in this process, by device, inode, size and times of change of the file."""


def file_entry(path: Path) -> FileEntry:
    """Returns the length and the hash of a file as the manifest stores them.

    Raises:
        OSError: The file cannot be read.
    """
    return FileEntry(bytes=path.stat().st_size, sha256=hash_file(path))


def hash_file(path: Path) -> str:
    """Reads a file and returns the SHA-256 of its content, in hexadecimal.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_once(path: Path) -> str:
    """Returns what `hash_file` returns, and reads a file again only if it may have changed since it was last hashed.

    A file counts as unchanged if its device, inode, size, and times of modification and of status change are the same.

    Raises:
        OSError: The file cannot be read.
    """
    found = path.stat()
    key = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    if key not in _hashes:
        _hashes[key] = hash_file(path)
    return _hashes[key]
