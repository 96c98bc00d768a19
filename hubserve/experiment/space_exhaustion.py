"""Whether a search has tried all that there is."""

from __future__ import annotations

from hubserve.space import Arch, ModelSpace

MOST_ARCHS = 1_000_000
"""Spaces larger than that are not tried to their end, and nobody keeps account of it."""


class Coverage:
    """The archs that were tried.

    Args:
        space: of the archs.
    """

    def __init__(self, space: ModelSpace) -> None:
        # The grid is quick to count; a space with a rule of its own may take long to count exactly.
        self._total = space.count() if space.grid_size <= MOST_ARCHS else None
        self._tried: set[str] = set()

    def add(self, arch: Arch) -> None:
        """One more; the labels in the order of the space."""
        if self._total is not None:
            self._tried.add(repr(arch))

    @property
    def complete(self) -> bool:
        """Whether every arch was tried."""
        return self._total is not None and len(self._tried) >= self._total
