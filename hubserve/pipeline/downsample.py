"""A long series kept short: whenever it is full, every second entry goes."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Thinned(Generic[T]):
    """At most `most` entries, evenly spread over all that were added, the first one among them, and the last one.

    >>> thinned = Thinned(4)
    >>> for i in range(10):
    ...     thinned.add(i)
    >>> thinned.kept
    [0, 4, 8, 9]
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._every = 1
        self._added = 0
        self._entries: list[T] = []
        self._last: list[T] = []

    def add(self, entry: T) -> None:
        """One more."""
        self._last = [entry]
        if self._added % self._every == 0:
            self._entries.append(entry)
            self._last = []
            if len(self._entries) >= self._most:
                self._entries = self._entries[::2]
                self._every *= 2
                self._last = [] if self._added % self._every == 0 else [entry]
        self._added += 1

    @property
    def kept(self) -> list[T]:
        """What is left, in the order in which it came."""
        return self._entries + self._last
