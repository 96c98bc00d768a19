"""Computes the SHA-256 hashes of the files of a package; `hash_once` remembers them while the files do not change."""

import hashlib
from pathlib import Path

from hubserve.package.manifest import FileEntry

_hashes: dict[tuple[int, ...], str] = {}
"""The hashes that `hash_once` has computed in this process.

Key: device, inode, size, modification time and status change time of the file. Value: SHA-256 in hexadecimal."""


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
    """Returns the SHA-256 of a file in hexadecimal; reads the file only if this process has not yet hashed it unchanged.

    A file counts as unchanged if its device, inode, size, modification time and status change time are the same.

    Raises:
        OSError: The file cannot be read.
    """
    found = path.stat()
    key = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    if key not in _hashes:
        _hashes[key] = hash_file(path)
    return _hashes[key]
