"""`ParetoEvolution`, the strategy that mutates archs of the Pareto front."""

from collections.abc import Iterator
from dataclasses import dataclass

from optuna import Study
from optuna.trial import FrozenTrial

from hubserve.space import Arch
from hubserve.strategy.base import completed
from hubserve.strategy.ranking import RankingStrategy
from hubserve.strategy.scored_archs import front_archs, mutants
from hubserve.strategy.settings_checks import at_least

REDRAWS = 500
"""Number of mutated archs in a row that were tried before, after which a random untried arch is proposed."""


@dataclass(frozen=True)
class ParetoEvolutionSettings:
    """The arguments of `ParetoEvolution` except its seed, documented there. Raises StrategyError if `initial` is below 1."""

    initial: int

    def __post_init__(self) -> None:
        at_least(self, 1, "initial")


class ParetoEvolution(RankingStrategy):
    """Mutates one choice of a random arch of the Pareto front, for any number of objectives; no arch is tried twice.

    SEMO, the "simple evolutionary multi-objective optimizer" of Laumanns, Thiele and Zitzler 2004, "Running Time Analysis of
    Multiobjective Evolutionary Algorithms on Pseudo-Boolean Functions"; but it begins with several random archs. It has no
    generations, so each trial can build on the one before. The front is that of the complete trials (`study.best_trials`).

    Args:
        initial: Number of complete trials, at least 1, before the first mutation; these are random.
        seed: Seed of all random numbers; None draws a seed.

    Raises:
        StrategyError: `initial` is below 1.
        SpaceExhausted: When a trial is sampled: all archs were tried.
    """

    settings: ParetoEvolutionSettings

    def __init__(self, initial: int = 10, *, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self.settings = ParetoEvolutionSettings(initial)

    def ranked(self, study: Study, trial: FrozenTrial) -> Iterator[Arch]:
        if len(completed(study)) < self.settings.initial:
            return
        front = front_archs(study, self.bound)
        for _ in range(REDRAWS if front else 0):
            yield from mutants(self.bound, front, 1, 1, self._rng)
