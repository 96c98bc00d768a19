"""A long series kept short: when it is full, every second entry is dropped."""

from typing import Generic, TypeVar

T = TypeVar("T")


class Downsampled(Generic[T]):
    """A series of at most `size` entries, evenly spaced among all entries that were added, the first and the last included.

    >>> series = Downsampled(4)
    >>> for i in range(10):
    ...     series.add(i)
    >>> series.entries
    [0, 4, 8, 9]
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._every = 1
        self._added = 0
        self._kept: list[T] = []
        self._last: list[T] = []

    def add(self, entry: T) -> None:
        """Appends an entry."""
        if self._added % self._every == 0:
            self._kept.append(entry)
            if len(self._kept) >= self._size:
                self._kept = self._kept[::2]
                self._every *= 2
        self._last = [] if self._added % self._every == 0 else [entry]
        self._added += 1

    @property
    def entries(self) -> list[T]:
        """The entries that are kept, in the order in which they were added."""
        return self._kept + self._last
