"""`GridSearch`, the strategy that tries every arch of a space once."""

import contextlib
import itertools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import Any
from weakref import WeakKeyDictionary

from optuna import Study
from optuna.distributions import BaseDistribution as Distribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BruteForceSampler
from optuna.trial import FrozenTrial, TrialState

from hubserve.errors import SpaceExhausted
from hubserve.space import Arch, ModelSpace
from hubserve.strategy.base import Strategy


@dataclass(frozen=True)
class GridSearchSettings:
    """The arguments of `GridSearch` except its seed.

    Attributes:
        shuffle: True tries the archs in an order that depends on the seed; False in the order of `ModelSpace.grid_arch`.
        dedup: True ends after every arch was proposed; False then proposes every arch once more, and so on.
    """

    shuffle: bool
    dedup: bool


class GridSearch(Strategy):
    """Proposes every arch that the space's check accepts once, in order or shuffled; no list of the archs is made.

    In a study that suggests one parameter after the other it works as Optuna's BruteForceSampler, which needs no space and
    always shuffles.

    Args:
        shuffle: True visits the archs in an order that depends on the seed, by a constant step through all indices that repeats
            none; False in the order of their indices. (NNI shuffles 100 neighbours at a time.)
        dedup: True ends the search after every arch was proposed; False then proposes every arch once more, and so on, for
            evaluations with random results.
        seed: Seed of the order; None draws a seed.

    Raises (when a trial is sampled):
        SpaceExhausted: With `dedup`: every arch was proposed.
    """

    settings: GridSearchSettings

    def __init__(self, shuffle: bool = True, *, dedup: bool = True, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self.settings = GridSearchSettings(shuffle, dedup)
        self._walks: WeakKeyDictionary[Study, Iterator[tuple[int, Arch]]] = WeakKeyDictionary()

    def bind(self, space: ModelSpace, *, max_trials: int | None = None) -> None:
        super().bind(space, max_trials=max_trials)
        self._walks.clear()

    def propose(self, study: Study, trial: FrozenTrial) -> Arch:
        # The archs that a walk has passed are tried or refused, and stay so; in a resumed study it passes them again.
        tried = self.tried(study, trial)
        for earlier_rounds, arch in self._walks.setdefault(study, self._walk()):
            if tried.times(arch) <= earlier_rounds:
                return arch
        raise SpaceExhausted(f"all archs of {type(self.bound).__name__} had their turn")

    def _walk(self) -> Iterator[tuple[int, Arch]]:
        """Yields (number of earlier rounds, arch) for all archs that the space's check accepts, in the order of the search.

        With `dedup` there is one round. Otherwise another round follows each one that was not empty.
        """
        space = self.bound
        for round_number in range(1) if self.settings.dedup else itertools.count():
            is_empty = True
            for position in range(space.grid_size):
                arch = space.grid_arch(self._number(position, space.grid_size))
                if space.allows(arch):
                    is_empty = False
                    yield round_number, arch
            if is_empty:
                return

    def _number(self, position: int, size: int) -> int:
        """Returns the grid index of the arch at `position`: `position` or, if shuffled, (seed + position * step) % size.

        `step` and `size` are coprime, so no index repeats within `size` positions.
        """
        if not self.settings.shuffle:
            return position
        step = max(1, int(size * 0.6180339887))
        while gcd(step, size) != 1:
            step += 1
        return (self.seed + position * step) % size

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Distribution) -> Any:
        return self._brute_force.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        if self.space is None:
            # It stops `study.optimize` when all is tried; called outside of it, it raises.
            with contextlib.suppress(RuntimeError):
                self._brute_force.after_trial(study, trial, state, values)

    @cached_property
    def _brute_force(self) -> BruteForceSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return BruteForceSampler(seed=self.seed)
