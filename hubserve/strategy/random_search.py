"""Random search."""

from __future__ import annotations

from optuna import Study
from optuna.trial import FrozenTrial

from hubserve.space import Arch, ModelSpace
from hubserve.strategy.base import Strategy
from hubserve.strategy.tried_archs import Tried, untried

PATIENCE = 500


class Random(Strategy):
    """Draws every choice on its own, by the space's prior where it states one: the baseline that others must beat.

    Bergstra and Bengio 2012, "Random Search for Hyper-Parameter Optimization".

    Args:
        dedup: never propose an arch that the study has tried, and end when there is no other: 500 redraws, as in NNI, then
            the next untried arch from a random one on. It takes effect where the space is known, see Strategy.
        seed: see Strategy.

    Raises (when asked for a trial):
        SpaceExhausted: all archs were tried, with `dedup` only.
    """

    def __init__(self, dedup: bool = True, *, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self.dedup = dedup
        self._tried: Tried | None = None

    def bind(self, space: ModelSpace, *, max_trials: int | None = None) -> None:
        super().bind(space, max_trials=max_trials)
        self._tried = Tried(space) if self.dedup else None

    def propose(self, study: Study, trial: FrozenTrial) -> Arch:
        space = self.bound
        if self._tried is None:
            return space.random(self._rng)
        return untried(lambda: space.random(self._rng), self._tried.of(study, trial), space, self._rng, patience=PATIENCE)
