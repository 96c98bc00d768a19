"""`RecentlyUsed`, a cache that keeps the values that were used most recently (LRU)."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class RecentlyUsed(Generic[T]):
    """A cache that keeps the `size` most recently used values. Copying or pickling it gives an empty cache.

    Args:
        size: Largest number of values to keep, at least 1.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[str, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: str, make: Callable[[], T]) -> T:
        """Returns the value of `key`; if it is not in the cache, calls `make()` and stores its result."""
        if key not in self._values:
            made = make()  # May clear the cache.
            self._values[key] = made
        self._values.move_to_end(key)
        while len(self._values) > self._size:
            self._values.popitem(last=False)
        return self._values[key]

    def clear(self) -> None:
        """Removes all values from the cache."""
        self._values.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {"_size": self._size, "_values": OrderedDict()}
