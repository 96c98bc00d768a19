"""Reads small files whose writer is not trusted: their size is checked against a limit before they are parsed."""

import errno
import io
import os
import stat
import zipfile
from pathlib import Path

MOST_TEXT_BYTES = 64 * 2**20
"""Largest text file, such as a manifest, a latency table or a profile, that is read, in bytes."""

MOST_HEADER_BYTES = 8 * 2**20
"""Largest header of a safetensors file that is accepted, in bytes; that of 10,000 tensors takes about 1 MB."""

MOST_EXPANSION = 4
"""Bytes of unpacked content that are accepted for each byte of a ZIP archive of weights; PyTorch's are not compressed."""

EXPANSION_SLACK_BYTES = 64 * 2**20
"""Bytes of unpacked content that are accepted in addition, whatever the size of the archive."""


class FileTooLargeError(OSError):
    """Raised if a file, or a part of it, is larger than the limit for its kind; its `errno` is EFBIG.

    Args:
        path: The file.
        what: Start of the message, which names what is too large, such as "its header".
        most: Limit in bytes.
    """

    def __init__(self, path: Path, what: str, most: int) -> None:
        super().__init__(errno.EFBIG, f"{what} is longer than the {most / 1e6:.3g} MB that are read", str(path))


def read_bounded(path: Path, most: int = MOST_TEXT_BYTES) -> bytes:
    """Returns the content of a regular file of at most `most` bytes.

    Raises:
        OSError: The file cannot be read, is larger (FileTooLargeError), or is not a regular file but a device or a pipe.
    """
    # Without O_NONBLOCK, opening a pipe would wait for a process that writes to it.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        content = file.read(most + 1)
    if len(content) > most:
        raise FileTooLargeError(path, "it", most)
    return content


def read_bounded_text(path: Path, most: int = MOST_TEXT_BYTES) -> str:
    r"""Returns the text of a regular UTF-8 file of at most `most` bytes, with "\n" as line end.

    Raises:
        OSError: The file cannot be read, is larger (FileTooLargeError), or is not a regular file.
        UnicodeDecodeError: The content is not UTF-8.
    """
    return read_bounded(path, most).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")


def check_safetensors_header(path: Path) -> None:
    """Checks that the header of a safetensors file has at most `MOST_HEADER_BYTES`; the library itself would parse 100 MB.

    Raises:
        OSError: The file cannot be read, or its header is too large (FileTooLargeError) or larger than the file.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > os.fstat(file.fileno()).st_size - 8:
            raise OSError(errno.EINVAL, "it is truncated, or no safetensors file", str(path))
    if length > MOST_HEADER_BYTES:
        raise FileTooLargeError(path, "its header", MOST_HEADER_BYTES)


def check_expansion(path: Path, inner: bytes | None = None) -> None:
    """Checks that the unpacked content of a ZIP archive, such as PyTorch writes, is not many times larger than the archive.

    The sizes are those that the archive's directory declares; the limit is that of `most_content`. A file that is not a ZIP
    archive passes.

    Args:
        path: The file.
        inner: Content of a file in the archive `path`, which is checked in its place; None checks `path` itself.

    Raises:
        OSError: The content is too large (FileTooLargeError), or the file cannot be read, or begins like a ZIP archive and is
            none that can be read, e.g. because it is cut off.
    """
    with path.open("rb") if inner is None else io.BytesIO(inner) as file:
        begins = file.read(4) == b"PK\3\4"
        if not begins and not zipfile.is_zipfile(file):  # An archive may stand behind other bytes.
            return
        most = most_content(file.seek(0, os.SEEK_END))
        try:
            with zipfile.ZipFile(file) as archive:
                content = sum(entry.file_size for entry in archive.infolist())
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise OSError(errno.EINVAL, f"it is no archive that can be read: {error}", str(path)) from error
    if content > most:
        raise FileTooLargeError(path, "its content", most)


def most_content(size: int) -> int:
    """Returns the number of bytes that an archive of weights of `size` bytes may have when it is unpacked."""
    return MOST_EXPANSION * size + EXPANSION_SLACK_BYTES
