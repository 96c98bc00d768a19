"""Recognises the names of parts, checks the names of classes, and escapes names of files and folders for messages."""

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from hubserve.errors import DatasetError
from hubserve.image_names import PART_NAMES
from hubserve.image_names import Part as Part

PARTS: tuple[Part, ...] = get_args(Part)


def part_of(name: str) -> Part | None:
    """Returns the part that a folder's name stands for, or None if it stands for none.

    Known names, in any case, are train and training; val, valid, validation and dev; test and testing.
    """
    return PART_NAMES.get(name.casefold())


def shown(name: str | Path) -> str:
    """Returns a name or path for messages, with line breaks, control characters and bytes that are not UTF-8 escaped."""
    text = str(name)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # Python decodes a byte of a file name that is not UTF-8 to such a character.
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def class_names(names: Sequence[str], where: str) -> dict[str, str]:
    """Returns the class names of folders or labels: their own names, with accents composed as in Unicode's NFC.

    Args:
        names: Names of the folders, or labels, as they were read; each occurs once.
        where: Folder or listing that has these names, for error messages.

    Returns:
        Name as it was read -> class name.

    Raises:
        DatasetError: A name is empty or not UTF-8, has a line break or another control character, or two of the names differ
            only in how accents are encoded (NFC and NFD), so that they look the same.
    """
    found: dict[str, str] = {}
    read: dict[str, str] = {}
    for name in names:
        composed = unicodedata.normalize("NFC", name)
        if (problem := _name_problem(composed)) is not None:
            raise DatasetError(f"{where}: the class name {quoted(name)} {problem}; rename it")
        if composed in read:
            raise DatasetError(
                f"{where}: two classes are called {composed!r}, once as {read[composed]!a} (accents encoded in one way) and "
                f"once as {name!a} (in another); put their images into one of them"
            )
        read[composed] = name
        found[name] = composed
    return found


def quoted(name: str) -> str:
    """Returns the `repr` of a name, for messages; if the name is not UTF-8, the `repr` of its bytes."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return repr(os.fsencode(name))
    return repr(name)


def _name_problem(name: str) -> str | None:
    if not name.strip():
        return "is empty"
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "is not UTF-8, as labels must be"
    # Cc: control characters, line breaks among them; Zl and Zp: Unicode's own separators of lines and paragraphs.
    if any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in name):
        return "has a line break or another control character, and a file of labels has one label a line"
    return None
