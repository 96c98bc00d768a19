"""Checks the classes and parts of a data set, whatever its items are: that there are enough, and that names differ clearly."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hubserve.data.folder_walk import LeftOut, left_out_text, named
from hubserve.data.names import Part, quoted, shown
from hubserve.errors import DatasetError


def notes_on_case(names: Sequence[str]) -> list[str]:
    """Returns a list with one message about classes whose names differ only in the case of letters; empty if there are none."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.casefold(), []).append(name)
    alike = [", ".join(group) for group in groups.values() if len(group) > 1]
    return [f"classes whose names differ only in the case of letters: {named(alike)}"] if alike else []


def refuse_unusable(
    root: Path,
    classes: Sequence[str],
    counts: Mapping[Part, Sequence[int]],
    left_out: Sequence[LeftOut],
    noun: str = "image",
) -> None:
    """Checks that there are at least two classes, each with items to train on, and items to validate and to test with.

    Args:
        root: Folder or listing, for the message.
        classes: Names of the classes.
        counts: Number of items of each class, for each part.
        left_out: Files that are not used, for the message.
        noun: Word for an item in the message.

    Raises:
        DatasetError: One of these is missing.
    """
    where = shown(root)
    gone = f". Left out: {left_out_text(left_out)}" if left_out else ""
    if len(classes) == 1:
        raise DatasetError(
            f"{where} has the one class {quoted(classes[0])}, and a classifier needs at least two: a folder for each"
        )
    empty = [name for name, count in zip(classes, counts["train"], strict=True) if count == 0]
    if empty:
        raise DatasetError(
            f"{where}: {len(empty)} of {len(classes)} classes have no {noun} left to train on: "
            f"{', '.join(map(quoted, empty[:5]))}{gone}"
        )
    purposes: tuple[tuple[Part, str], ...] = (("val", "validate"), ("test", "test"))
    for part, purpose in purposes:
        if not any(counts[part]):
            raise DatasetError(
                f"{where} has no {noun} left to {purpose} with; each class needs at least 3 different {noun}s, or put some "
                f"into {part}/{gone}"
            )
