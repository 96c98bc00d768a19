"""Random search."""

from dataclasses import dataclass

from optuna import Study
from optuna.trial import FrozenTrial

from hubserve.space import Arch
from hubserve.strategy.base import Strategy


@dataclass(frozen=True)
class RandomSettings:
    """The arguments of `Random` but its seed."""

    dedup: bool


class Random(Strategy):
    """Draws every choice on its own, by the weights of its candidates where the space states some: the baseline to beat.

    Bergstra and Bengio 2012, "Random Search for Hyper-Parameter Optimization".

    Args:
        dedup: Whether to never propose an arch that the study has tried, and to end when there is no other: after 500 draws of
            tried ones, as in NNI, comes the next untried arch from a random one on. Without a space it has no effect, see
            `Strategy`.
        seed: Seed of all that is random; None draws one.

    Raises (when asked for a trial):
        SpaceExhausted: All archs were tried, with `dedup` only.
    """

    settings: RandomSettings

    def __init__(self, dedup: bool = True, *, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self.settings = RandomSettings(dedup)

    def propose(self, study: Study, trial: FrozenTrial) -> Arch:
        def draw() -> Arch:
            return self.bound.random(self._rng)

        return self.tried(study, trial).first_untried(draw, self._rng) if self.settings.dedup else draw()
