"""Grid search."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from math import gcd
from typing import Any
from weakref import WeakKeyDictionary

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BruteForceSampler
from optuna.trial import FrozenTrial, TrialState

from hubserve.errors import SpaceExhausted
from hubserve.space import Arch, ModelSpace
from hubserve.strategy.base import Strategy
from hubserve.strategy.tried_archs import Tried


class GridSearch(Strategy):
    """Every arch of the space once, in order or shuffled; the archs are numbered, not listed, however many there are.

    In a study that asks parameter by parameter it is Optuna's BruteForceSampler, which needs no space and shuffles always.

    Args:
        shuffle: visit the archs in an order that the seed decides: a step through all numbers that repeats none. NNI shuffles
            100 neighbours at a time.
        dedup: end when all archs had their turn; without it, start over, for evaluations that vary.
        seed: see Strategy.

    Raises (when asked for a trial):
        SpaceExhausted: all archs had their turn, with `dedup` only.
    """

    def __init__(self, shuffle: bool = True, *, dedup: bool = True, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self.shuffle = shuffle
        self.dedup = dedup
        self._unbound: BruteForceSampler | None = None
        self._tried: Tried | None = None
        self._walks: WeakKeyDictionary[Study, Iterator[Arch]] = WeakKeyDictionary()

    def bind(self, space: ModelSpace, *, max_trials: int | None = None) -> None:
        super().bind(space, max_trials=max_trials)
        self._tried = Tried(space) if self.dedup else None
        self._walks.clear()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        super().before_trial(study, trial)
        if not self.dedup:
            self._walks.pop(study, None)

    def propose(self, study: Study, trial: FrozenTrial) -> Arch:
        # What the walk has passed is tried or refused, and stays so; a resumed study walks past it again.
        walk = self._walks.setdefault(study, self._walk(0 if self.dedup else trial.number))
        tried = self._tried.of(study, trial) if self._tried is not None else ()
        for arch in walk:
            if arch not in tried:
                return arch
        raise SpaceExhausted(f"all archs of {type(self.bound).__name__} had their turn")

    def _walk(self, start: int) -> Iterator[Arch]:
        """The archs that the space's rules allow, all of them, from place `start` on."""
        space = self.bound
        for place in range(start, start + space.grid_size):
            arch = space.grid_arch(self._number(place, space.grid_size))
            if space.allows(arch):
                yield arch

    def _number(self, place: int, size: int) -> int:
        """Place -> a + place * step modulo size, which visits all when step and size have no common divisor."""
        if not self.shuffle:
            return place % size
        step = max(1, int(size * 0.6180339887))
        while gcd(step, size) != 1:
            step += 1
        return (self.seed + place * step) % size

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._brute_force().sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        if self.space is None:
            # It stops `study.optimize` when all is tried; a loop that asks and tells cannot be stopped.
            with contextlib.suppress(RuntimeError):
                self._brute_force().after_trial(study, trial, state, values)

    def _brute_force(self) -> BruteForceSampler:
        if self._unbound is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                self._unbound = BruteForceSampler(seed=self.seed)
        return self._unbound
