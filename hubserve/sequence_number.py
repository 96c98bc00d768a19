"""Numbers folders in the order in which they were made, so that the order does not depend on the clock.

A folder that an earlier version made has no number and counts as older than all that have one.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

NUMBER_FILE = ".number"
"""Name of the file in each folder that holds its number."""


def read_number(folder: Path) -> int:
    """Returns the number of a folder, which is at least 1; 0 if it has no number, or its file cannot be read."""
    with suppress(OSError, ValueError):
        return max(0, int((folder / NUMBER_FILE).read_bytes()[:20]))
    return 0


def write_next_number(folder: Path, others: Iterable[Path]) -> None:
    """Gives a folder the next number after the largest one of the folders `others`.

    The caller must hold `number_lock` until the folder is at its final place, where others include it in `others`.

    Raises:
        OSError: The number cannot be written.
    """
    (folder / NUMBER_FILE).write_text(f"{max(map(read_number, others), default=0) + 1}\n")


def number_lock(parent: Path) -> FileLock:
    """Returns the lock, not yet acquired, that must be held while folders in `parent` get their numbers."""
    return FileLock(str(parent / ".number.lock"))
