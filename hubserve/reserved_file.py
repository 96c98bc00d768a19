"""Small files whose place on the disk is taken in advance, so that a reason can be written when the disk is full."""

import os
from contextlib import suppress
from pathlib import Path

BYTES = 4096
"""Length of such a file: one block of most file systems."""


def reserve(path: Path) -> None:
    """Makes the file, or empties it, without giving its place back. Raises OSError where there is no space for it."""
    _overwrite(path, "")


def write_reserved(path: Path, text: str) -> None:
    """Replaces the content by `text`, cut to the length of the file. Does nothing where it cannot be written."""
    with suppress(OSError):
        _overwrite(path, text)


def read_reserved(path: Path) -> str:
    """What was written; empty for nothing, and where there is no such file."""
    try:
        return path.read_text("utf-8", "ignore").strip()
    except OSError:
        return ""


def _overwrite(path: Path, text: str) -> None:
    content = text.encode()[:BYTES].ljust(BYTES)
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        # In place: file systems that do not copy on write need no new block for this.
        if os.pwrite(file, content, 0) < BYTES:
            os.pwrite(file, content, 0)
    finally:
        os.close(file)
