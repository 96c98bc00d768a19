"""Names in folders of images: endings of image files, names of the parts, and names that are hidden."""

from collections.abc import Mapping
from typing import Literal

Part = Literal["train", "val", "test"]

PART_NAMES: Mapping[str, Part] = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Part that each folder name, or value in a listing's column, stands for; names are in lower case."""

SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".apng",
        ".webp",
        ".bmp",
        ".dib",
        ".gif",
        ".tif",
        ".tiff",
        ".avif",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
    ]
)
"""File name suffixes of images, in lower case; they are compared without regard to case."""

_SYSTEM_FOLDERS = frozenset(
    ("@eadir", "lost+found", "__macosx", "#recycle", "$recycle.bin", "system volume information", "__pycache__")
)
_SYSTEM_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"))
_SYSTEM_NAMES = _SYSTEM_FOLDERS | _SYSTEM_FILES
"""Lower-case names of files and folders that operating systems and storage devices create by themselves."""


def is_hidden(name: str) -> bool:
    """Returns True for a name that begins with a dot, or that an operating system creates by itself, such as `@eaDir`."""
    return name.startswith(".") or name.casefold() in _SYSTEM_NAMES
