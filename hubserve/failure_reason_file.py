"""Small files with reserved disk space, to which the reason of a failure can be written even when the disk is full."""

import os
from contextlib import suppress
from pathlib import Path

BYTES = 4096
"""Length of a reserved file in bytes, which is one block of most file systems."""


def reserve(path: Path) -> None:
    """Creates a file of `BYTES` spaces, whose disk space `write_reserved` uses later; overwrites the text of an existing one.

    Raises:
        OSError: The file cannot be written, for example because the disk is full.
    """
    _overwrite(path, "")


def write_reserved(path: Path, text: str) -> None:
    """Replaces the text of a reserved file by `text`, cut to `BYTES` bytes of UTF-8. Errors of the file system are ignored."""
    with suppress(OSError):
        _overwrite(path, text)


def read_reserved(path: Path) -> str:
    """Returns the text of a reserved file; empty if nothing was written to it, or the file cannot be read."""
    try:
        return path.read_text("utf-8", "ignore").strip()
    except OSError:
        return ""


def _overwrite(path: Path, text: str) -> None:
    content = text.encode()[:BYTES].ljust(BYTES)
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        # Overwriting in place needs no new block, except on file systems that copy on write.
        if os.pwrite(file, content, 0) < BYTES:
            os.pwrite(file, content, 0)
    finally:
        os.close(file)
