"""A cache of what was used last."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class RecentlyUsed(Generic[T]):
    """Keeps the `size` values that were used last. A copy of it, or a pickle, is empty.

    Args:
        size: Number of values to keep.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[str, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: str, make: Callable[[], T]) -> T:
        """The value of `key`; `make()` where it is not kept."""
        if key not in self._values:
            made = make()  # May clear the cache.
            self._values[key] = made
        self._values.move_to_end(key)
        while len(self._values) > self._size:
            self._values.popitem(last=False)
        return self._values[key]

    def clear(self) -> None:
        """Drops all values."""
        self._values.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {"_size": self._size, "_values": OrderedDict()}
