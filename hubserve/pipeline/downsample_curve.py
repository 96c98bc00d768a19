"""`Downsampled`: a series with a limited number of entries, which drops every second entry when it is full."""

from typing import Generic, TypeVar

T = TypeVar("T")


class Downsampled(Generic[T]):
    """A series that keeps at most `size` of the added entries: the first, the last, and evenly spaced ones between them.

    Args:
        size: Largest number of entries that are kept, at least 2.

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
        """Appends an entry, and drops every second entry if the series is full."""
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
