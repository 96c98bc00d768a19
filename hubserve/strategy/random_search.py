"""`Random`, the strategy of random search."""

from dataclasses import dataclass

from optuna import Study
from optuna.trial import FrozenTrial

from hubserve.space import Arch
from hubserve.strategy.base import Strategy


@dataclass(frozen=True)
class RandomSettings:
    """The arguments of `Random` except its seed.

    Attributes:
        dedup: True never proposes an arch that the study has tried.
    """

    dedup: bool


class Random(Strategy):
    """Random search, the usual baseline: draws the answer to each choice independently, by the `weights` of the choice if any.

    Bergstra and Bengio 2012, "Random Search for Hyper-Parameter Optimization".

    Args:
        dedup: True never proposes an arch that the study has tried, and ends the search when none is left. After 500 draws in
            a row that were tried before (as in NNI), the next untried arch of the space after a random position is proposed.
            Without a space it has no effect, see `Strategy`.
        seed: Seed of all random numbers; None draws a seed.

    Raises (when a trial is sampled):
        SpaceExhausted: With `dedup`: all archs were tried.
    """

    settings: RandomSettings

    def __init__(self, dedup: bool = True, *, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self.settings = RandomSettings(dedup)

    def propose(self, study: Study, trial: FrozenTrial) -> Arch:
        def draw() -> Arch:
            return self.bound.random(self._rng)

        return self.tried(study, trial).first_untried(draw, self._rng) if self.settings.dedup else draw()
