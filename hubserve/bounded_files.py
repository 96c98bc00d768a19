"""Reads small files whose writer is not trusted: a bound on their length is checked before any of it is parsed."""

import errno
import os
import stat
import zipfile
from pathlib import Path

MOST_TEXT_BYTES = 64 * 2**20
"""Longest text file that is parsed, such as a manifest, a latency table or a profile, in bytes."""

MOST_HEADER_BYTES = 8 * 2**20
"""Longest header of a safetensors file, in bytes; a network of 10,000 tensors has one of about 1 MB."""

MOST_EXPANSION = 4
"""Content of an archive of weights by its length, beyond which it is not read; those that PyTorch writes are not compressed."""

EXPANSION_SLACK_BYTES = 64 * 2**20
"""Content of an archive that is read whatever its length, in bytes."""


class FileTooLargeError(OSError):
    """A file, or a part of one, is longer than what is read of its kind."""

    def __init__(self, path: Path, what: str, most: int) -> None:
        super().__init__(errno.EFBIG, f"{what} is longer than the {most / 1e6:.3g} MB that are read", str(path))


def read_bounded(path: Path, most: int = MOST_TEXT_BYTES) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises:
        OSError: It cannot be read, is longer, or is no regular file, but a device or a pipe.
    """
    # Without O_NONBLOCK a pipe would be waited for.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        content = file.read(most + 1)
    if len(content) > most:
        raise FileTooLargeError(path, "it", most)
    return content


def read_bounded_text(path: Path, most: int = MOST_TEXT_BYTES) -> str:
    """The text of a file in UTF-8; see `read_bounded`. Raises UnicodeDecodeError, a ValueError, where it is none."""
    return read_bounded(path, most).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")


def check_safetensors_header(path: Path) -> None:
    """Checks the length of a safetensors file's header: that library would parse 100 MB of JSON.

    Raises:
        OSError: It cannot be read, or the header is too long, or longer than the file.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > os.fstat(file.fileno()).st_size - 8:
            raise OSError(errno.EINVAL, "it is truncated, or no safetensors file", str(path))
    if length > MOST_HEADER_BYTES:
        raise FileTooLargeError(path, "its header", MOST_HEADER_BYTES)


def check_expansion(path: Path) -> None:
    """Checks that the files in a ZIP archive, such as PyTorch's, are not many times as long as the archive.

    Raises:
        OSError: They are, or the archive cannot be read. A file that is no archive is not looked at.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\3\4":
            return
    most = MOST_EXPANSION * path.stat().st_size + EXPANSION_SLACK_BYTES
    try:
        with zipfile.ZipFile(path) as archive:
            content = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise OSError(errno.EINVAL, f"it is no archive that can be read: {error}", str(path)) from error
    if content > most:
        raise FileTooLargeError(path, "its content", most)
