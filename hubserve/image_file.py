"""Reads the image files that a user names."""

import os
from pathlib import Path

from hubserve.errors import ImageError


def read_image_file(path: str | os.PathLike[str]) -> bytes:
    """Returns the content of a file. Raises ImageError, which names the file, where it cannot be read."""
    name = os.fspath(path)
    if "://" in str(name):
        raise ImageError(f"{name} is an address, and only files are read: download it first, then give the file or its bytes")
    try:
        return Path(name).read_bytes()
    except (OSError, ValueError) as error:  # ValueError of a name with a null byte.
        where = f"; looked in {Path.cwd()}" if isinstance(error, FileNotFoundError) and not Path(name).is_absolute() else ""
        raise ImageError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}{where}") from error
