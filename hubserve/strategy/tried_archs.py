"""Which archs a study has tried, and how a strategy keeps from trying one twice."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial

from hubserve.errors import SpaceExhausted
from hubserve.space import Arch, ModelSpace
from hubserve.strategy.trial_params import categories

Key = frozenset[tuple[str, Any]]


class Tried:
    """The archs of a study's trials, running and failed ones too; each finished trial is read once.

    >>> arch in tried.of(study, trial)
    """

    def __init__(self, space: ModelSpace) -> None:
        self._space = space
        self._study: weakref.ref[Study] | None = None
        self._read = 0
        self._settled: set[Key] = set()
        self._open: set[Key] = set()

    def of(self, study: Study, trial: FrozenTrial) -> Tried:
        """Itself, up to date with all trials but `trial`, which may have been begun before and left."""
        if self._study is None or self._study() is not study:
            self._study, self._read, self._settled = weakref.ref(study), 0, set()
        trials = study.get_trials(deepcopy=False)
        while self._read < len(trials) and trials[self._read].state.is_finished():
            self._settled.add(self._key(trials[self._read].params))
            self._read += 1
        self._open = {self._key(other.params) for other in trials[self._read :] if other.number != trial.number}
        return self

    def __contains__(self, arch: Arch) -> bool:
        key = frozenset(categories(arch, self._space).items())
        return key in self._settled or key in self._open

    def _key(self, params: Mapping[str, Any]) -> Key:
        return frozenset((label, value) for label, value in params.items() if label in self._space.choices)


def untried(propose: Callable[[], Arch], tried: Tried, space: ModelSpace, rng: Random, *, patience: int) -> Arch:
    """The first of `patience` proposals that was not tried, else the next untried arch of the space from a random one on.

    Raises:
        SpaceExhausted: there is none.
    """
    for _ in range(patience):
        arch = propose()
        if arch not in tried:
            return arch
    start = rng.randrange(space.grid_size)
    for step in range(space.grid_size):
        arch = space.grid_arch((start + step) % space.grid_size)
        if arch not in tried and space.allows(arch):
            return arch
    raise SpaceExhausted(f"all archs of {type(space).__name__} were tried")
