"""`RankingStrategy`, the base class of strategies that rank archs for a trial and propose the first untried one."""

import abc
from collections.abc import Iterator

from optuna import Study
from optuna.trial import FrozenTrial

from hubserve.space import Arch, ModelSpace
from hubserve.strategy.base import Strategy


class RankingStrategy(Strategy):
    """Base class of strategies that rank archs once for each trial and propose the first that no other trial has tried.

    Asked again for the same trial, e.g. because a filter refused the arch, the next arch of the ranking is proposed; after its
    end a random untried one. Running, failed and pruned trials count as tried. In a study without a space, whose objective
    suggests one parameter after the other, the parameters are random.

    Args:
        seed: Seed of all random numbers; None draws a seed.
    """

    def __init__(self, *, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self._ranking: Iterator[Arch] | None = None

    @abc.abstractmethod
    def ranked(self, study: Study, trial: FrozenTrial) -> Iterator[Arch]:
        """Yields archs that the space's check accepts, for `propose` to return the first untried one.

        The more promising ones come first where the strategy can predict that; otherwise the order is random. An arch may be
        yielded several times, and tried ones may be among them. There may be none, e.g. before enough trials have ended;
        `propose` then returns a random untried arch.
        """

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        super().before_trial(study, trial)
        self._ranking = None

    def bind(self, space: ModelSpace, *, max_trials: int | None = None) -> None:
        super().bind(space, max_trials=max_trials)
        self._ranking = None

    def propose(self, study: Study, trial: FrozenTrial) -> Arch:
        """Returns the next untried arch of the ranking; after its end, a random untried one.

        Raises:
            SpaceExhausted: All archs were tried.
            StrategyError: `bind` was not called.
        """
        tried = self.tried(study, trial)
        if self._ranking is None:
            self._ranking = self.ranked(study, trial)
        for arch in self._ranking:
            if arch not in tried:
                return arch
        return tried.first_untried(lambda: self.bound.random(self._rng), self._rng)
