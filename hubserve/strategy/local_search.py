"""`LocalSearch`, the strategy of White et al. 2020."""

from collections.abc import Iterator
from dataclasses import dataclass

from optuna import Study
from optuna.trial import FrozenTrial

from hubserve.space import Arch
from hubserve.strategy.ranking import RankingStrategy
from hubserve.strategy.scored_archs import ScoredArchs, neighbours
from hubserve.strategy.settings_checks import at_least


@dataclass(frozen=True)
class LocalSearchSettings:
    """The arguments of `LocalSearch` except its seed, documented there. Raises StrategyError if `initial` is below 1."""

    initial: int

    def __post_init__(self) -> None:
        at_least(self, 1, "initial")


class LocalSearch(RankingStrategy):
    """Proposes the untried neighbours of the best arch that has some; a neighbour has another answer to one choice.

    White, Nolen and Savani 2020, "Exploring the Loss Landscape in Neural Architecture Search", algorithm 1
    (https://arxiv.org/abs/2005.02960). As soon as a neighbour is better, the search goes on from it. At a local optimum, all
    of whose neighbours were tried, it goes on from the next best arch, where the paper's algorithm ends. Choices that become
    active by another answer are drawn at random; of a choice with more than 64 answers, 64 random ones are neighbours.

    Args:
        initial: Number of finished trials, at least 1, before the first neighbour; these are random. Failed and pruned trials
            count, too, with the scores that `ScoredArchs` gives them.
        seed: Seed of all random numbers; None draws a seed.

    Raises:
        StrategyError: `initial` is below 1; or, when a trial is sampled, the study has several objectives.
        SpaceExhausted: When a trial is sampled: all archs were tried.
    """

    one_objective = True
    settings: LocalSearchSettings

    def __init__(self, initial: int = 10, *, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self.settings = LocalSearchSettings(initial)

    def ranked(self, study: Study, trial: FrozenTrial) -> Iterator[Arch]:
        scored = ScoredArchs.of(study, self.bound)
        if len(scored.archs) >= self.settings.initial:
            for parent in scored.best(len(scored.archs)):
                yield from neighbours(self.bound, parent, self._rng)
