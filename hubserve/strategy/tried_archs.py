"""`TriedArchs`, the set of archs that the trials of a study have tried, and the search for an untried one."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial

from hubserve.errors import SpaceExhausted
from hubserve.space import Arch, ModelSpace
from hubserve.strategy.trial_params import categories

REDRAWS = 500
"""Number of proposals in a row that were tried before, after which `first_untried` searches the grid; as in NNI."""

Params = frozenset[tuple[str, Any]]


class TriedArchs:
    """The set of archs that a study's trials have tried, including running and failed ones. Each finished trial is read once.

    >>> arch in tried.update(study, trial)

    Args:
        space: The space of the archs.
    """

    def __init__(self, space: ModelSpace) -> None:
        self._space = space
        self._study: weakref.ref[Study] | None = None
        self._read = 0
        self._finished: Counter[Params] = Counter()
        self._running: Counter[Params] = Counter()

    def update(self, study: Study, trial: FrozenTrial) -> TriedArchs:
        """Reads the trials of `study` that are new since the last call, except `trial`, and returns itself."""
        if self._study is None or self._study() is not study:
            self._study, self._read, self._finished = weakref.ref(study), 0, Counter()
        trials = study.get_trials(deepcopy=False)
        while self._read < len(trials) and trials[self._read].state.is_finished():
            self._finished[self._params(trials[self._read].params)] += 1
            self._read += 1
        self._running = Counter(self._params(other.params) for other in trials[self._read :] if other.number != trial.number)
        return self

    def __contains__(self, arch: Arch) -> bool:
        return self.times(arch) > 0

    def times(self, arch: Arch) -> int:
        """Returns how many trials have tried `arch`."""
        params = frozenset(categories(arch, self._space).items())
        return self._finished[params] + self._running[params]

    def _params(self, params: Mapping[str, Any]) -> Params:
        return frozenset((label, value) for label, value in params.items() if label in self._space.choices)

    def first_untried(self, propose: Callable[[], Arch], rng: Random) -> Arch:
        """Returns the first untried arch among 500 calls of `propose`; if all were tried, the next untried arch of the grid.

        The grid (`ModelSpace.grid_arch`) is searched from a random index on, which `rng` draws.

        Raises:
            SpaceExhausted: All archs were tried.
        """
        for _ in range(REDRAWS):
            if (arch := propose()) not in self:
                return arch
        space = self._space
        start = rng.randrange(space.grid_size)
        for step in range(space.grid_size):
            arch = space.grid_arch((start + step) % space.grid_size)
            if arch not in self and space.allows(arch):
                return arch
        raise SpaceExhausted(f"all archs of {type(space).__name__} were tried")
