"""Whether every arch of a space had a trial."""

from hubserve.space import Arch, ModelSpace

MOST_ARCHS = 1_000_000
"""Number of archs above which a space counts as inexhaustible, and its tried archs are not kept."""


class SpaceExhaustion:
    """Counts the different archs of a space that were tried.

    Args:
        space: Space that is searched.
    """

    def __init__(self, space: ModelSpace) -> None:
        # The grid is quick to count; a space with a rule of its own may take long to count exactly.
        self._total = space.count() if space.grid_size <= MOST_ARCHS else None
        self._tried: set[str] = set()

    def add(self, arch: Arch) -> None:
        """Counts `arch` as tried; its labels are in the order of the space."""
        if self._total is not None:
            self._tried.add(repr(arch))

    @property
    def complete(self) -> bool:
        """Whether every arch was tried."""
        return self._total is not None and len(self._tried) >= self._total
