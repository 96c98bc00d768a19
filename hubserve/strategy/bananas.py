"""`BANANAS`, the strategy of White et al. 2019: an ensemble predicts the scores of mutated archs."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from optuna import Study
from optuna.trial import FrozenTrial

from hubserve.errors import StrategyError
from hubserve.space import Arch
from hubserve.strategy.arch_vectors import ArchVectors
from hubserve.strategy.ranking import RankingStrategy
from hubserve.strategy.scored_archs import ScoredArchs, mutants
from hubserve.strategy.settings_checks import at_least


@dataclass(frozen=True)
class BANANASSettings:
    """The arguments of `BANANAS` except its seed, documented there. Raises StrategyError if one is out of its range."""

    initial: int
    parents: int
    candidates: int
    trees: int

    def __post_init__(self) -> None:
        at_least(self, 1, "initial", "parents", "candidates")
        at_least(self, 2, "trees")


class BANANAS(RankingStrategy):
    """Predicts the scores of mutated good archs by an ensemble and chooses among them by independent Thompson sampling.

    White, Neiswanger and Savani 2019, "BANANAS: Bayesian Optimization with Neural Architectures for Neural Architecture
    Search", algorithm 1 (https://arxiv.org/abs/1910.11858). For each candidate a score is drawn from a normal distribution with
    the mean and the standard deviation of the ensemble's predictions, and the candidate with the highest draw is proposed.
    Differences: the ensemble are randomized trees (scikit-learn's ExtraTreesRegressor), which are fitted in milliseconds, in
    place of five neural networks; archs are described by the answers to their choices (`ArchVectors`), as any space has them,
    in place of the paths of a cell; and it is fitted for every trial, in place of every tenth.

    Args:
        initial: Number of finished trials, at least 1, before the first prediction; these are random. Failed and pruned trials
            count, too, with the scores that `ScoredArchs` gives them; without a trial that has a score, nothing is predicted.
        parents: Number of best archs, at least 1, that are mutated.
        candidates: Number of mutated archs, at least 1, whose scores are predicted for a trial; each has one or two mutations.
        trees: Number of trees of the ensemble, at least 2.
        seed: Seed of all random numbers; None draws a seed.

    Raises:
        StrategyError: An argument is out of its range; scikit-learn is not installed; or, when a trial is sampled, the study
            has several objectives.
        SpaceExhausted: When a trial is sampled: all archs were tried.
    """

    one_objective = True
    settings: BANANASSettings

    def __init__(
        self, initial: int = 10, parents: int = 10, candidates: int = 200, trees: int = 30, *, seed: int | None = None
    ) -> None:
        super().__init__(seed=seed)
        self.settings = BANANASSettings(initial, parents, candidates, trees)
        try:
            import sklearn.ensemble  # noqa: F401 - an extra
        except ImportError as error:
            raise StrategyError("BANANAS needs scikit-learn: pip install 'hubserve[search]'") from error

    def ranked(self, study: Study, trial: FrozenTrial) -> Iterator[Arch]:
        scored = ScoredArchs.of(study, self.bound)
        if len(scored.archs) < self.settings.initial:
            return
        candidates = mutants(self.bound, scored.best(self.settings.parents), self.settings.candidates, 2, self._rng)
        drawn = self._drawn_scores(scored, candidates)
        for index in np.argsort(-drawn, kind="stable"):
            yield candidates[index]

    def _drawn_scores(self, scored: ScoredArchs, candidates: list[Arch]) -> np.ndarray:
        """Returns a score for each candidate, drawn from the normal distribution that the ensemble predicts."""
        from sklearn.ensemble import ExtraTreesRegressor

        vectors = ArchVectors(self.bound)
        forest = ExtraTreesRegressor(self.settings.trees, max_features=0.5, random_state=self._rng.randrange(2**32))
        forest.fit(vectors(scored.archs), scored.scores[:, 0])
        inputs = vectors(candidates)
        predicted = np.stack([tree.predict(inputs) for tree in forest.estimators_])
        noise = np.random.default_rng(self._rng.getrandbits(64)).standard_normal(len(candidates))
        drawn: np.ndarray = predicted.mean(0) + predicted.std(0) * noise
        return drawn
