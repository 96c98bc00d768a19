"""Grid search."""

from __future__ import annotations

from math import gcd
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from hubserve.errors import SpaceExhausted, StrategyError
from hubserve.space import ModelSpace
from hubserve.strategy.base import Strategy
from hubserve.strategy.params import category, distribution


class GridSearch(Strategy):
    """Every arch of the space once, in order or shuffled; nothing is kept but the trial's number, however large the space.

    Args:
        shuffle: visit the archs in an order that the seed decides: a step through all indices that repeats none.
        seed: see Strategy.

    Raises (when asked for a trial):
        SpaceExhausted: all archs had their turn.
    """

    def __init__(self, shuffle: bool = True, *, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self.shuffle = shuffle
        self._space: ModelSpace | None = None

    def bind(self, space: ModelSpace) -> None:
        super().bind(space)
        self._space = space

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {label: distribution(choice) for label, choice in self._bound().choices.items()}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        space = self._bound()
        size = space.grid_size
        if trial.number >= size:
            raise SpaceExhausted(f"all {size} archs of {type(space).__name__} were tried")
        arch = space.grid_arch(self._index(trial.number, size))
        return {label: category(space.choices[label], answer) for label, answer in arch.items()}

    def _bound(self) -> ModelSpace:
        if self._space is None:
            raise StrategyError("GridSearch must know its space before the first trial: call strategy.bind(space)")
        return self._space

    def _index(self, number: int, size: int) -> int:
        """Number -> a + number * step modulo size, which visits all when step and size have no common divisor."""
        if not self.shuffle:
            return number
        step = max(1, int(size * 0.6180339887))
        while gcd(step, size) != 1:
            step += 1
        return (self.seed + number * step) % size
