"""The images that have a row already, by a hash of their path: 9 bytes for each, so that a million take 9 MB."""

import hashlib
from collections.abc import Iterable

import numpy as np


class AnsweredImages:
    """A multiset of paths, from which each path is taken as often as it has a row.

    Args:
        names: Path of each row that is complete.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._hashes = np.sort(np.fromiter((_hash(name) for name in names), np.uint64))
        self._taken = np.zeros(len(self._hashes), bool)

    def __len__(self) -> int:
        return len(self._hashes)

    def take(self, name: str) -> bool:
        """Returns whether a row of this path is left, and takes it."""
        wanted = np.uint64(_hash(name))
        place = int(np.searchsorted(self._hashes, wanted))
        while place < len(self._hashes) and self._hashes[place] == wanted:
            if not self._taken[place]:
                self._taken[place] = True
                return True
            place += 1
        return False


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
