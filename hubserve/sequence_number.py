"""Numbers that say in which order folders were made, whatever the clock said then.

A folder without one, of an earlier version, counts as older than all that have one.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

NUMBER_FILE = ".number"
"""File with the number, in each folder."""


def read_number(folder: Path) -> int:
    """The number of a folder, at least 1; 0 where it has none."""
    with suppress(OSError, ValueError):
        return max(0, int((folder / NUMBER_FILE).read_bytes()[:20]))
    return 0


def write_next_number(folder: Path, others: Iterable[Path]) -> None:
    """Gives a folder the number after the largest of `others`; the caller holds `number_lock` until all can see the folder."""
    (folder / NUMBER_FILE).write_text(f"{max(map(read_number, others), default=0) + 1}\n")


def number_lock(parent: Path) -> FileLock:
    """The lock under which the folders in `parent` get their numbers."""
    return FileLock(str(parent / ".number.lock"))
