"""`PairwiseGP`, Bayesian optimization with a Gaussian process over answers and pairs of answers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from optuna import Study
from optuna.trial import FrozenTrial

from hubserve.space import Arch, ModelSpace
from hubserve.strategy.answer_counts import CountedVectors, grid_vectors
from hubserve.strategy.arch_vectors import Vectors
from hubserve.strategy.balanced_archs import balanced_arch
from hubserve.strategy.expected_gain import expected_gains
from hubserve.strategy.pair_process import Numbers, PairKernel, PairProcess, standardized
from hubserve.strategy.ranking import RankingStrategy
from hubserve.strategy.scored_archs import ScoredArchs, front_archs, mutants, running_archs
from hubserve.strategy.settings_checks import at_least

GRID = 50_000
"""Number of archs up to which all archs of a space are candidates."""

PARENTS = 20
"""Number of best archs that are mutated in a larger space, with one objective."""

EVERY = 10
"""Number of finished trials after which the kernel is chosen again, from the 30th on; before, it is chosen for each trial."""


@dataclass(frozen=True)
class PairwiseGPSettings:
    """The arguments of `PairwiseGP` except its seed, documented there. Raises StrategyError if one is out of its range."""

    initial: int
    candidates: int

    def __post_init__(self) -> None:
        at_least(self, 2, "initial", "candidates")


class PairwiseGP(RankingStrategy):
    """Learns which answers and pairs of answers are good, and tries archs that may be best; for any number of objectives.

    The first trials are random archs in which the answers to each choice come equally often (`balanced_arch`). Then the scores
    are modelled by a Gaussian process, which is Bayesian ridge regression over one-hot answers, counts of equal answers
    (`CountedVectors`), and their products in pairs (`PairKernel`; the marginal likelihood chooses how much each contributes).
    For each trial, the arch with the largest expected improvement on the best score is tried. With several objectives each has
    its process, and it is the arch by which the hypervolume is expected to grow most (`expected_gains`). The scores of running
    trials count as known, and as those that are expected, so that trials that run at the same time differ (the "kriging
    believer" of Ginsbourger, Le Riche and Carraro 2010, "Kriging is well-suited to parallelize optimization",
    https://doi.org/10.1007/978-3-642-10701-6_6).

    In a space of at most 50,000 archs all of them are candidates; in a larger one half are mutations of the 20 best archs or,
    with several objectives, of the Pareto front, and half are random. Failed trials count as the lowest score, pruned ones as
    their last reported value (with several objectives, as failed ones). docs/decisions/0013 has the measurements.

    Args:
        initial: Number of finished trials, at least 2, before the first model.
        candidates: Number of archs, at least 2, that are compared for a trial in a space of more than 50,000 archs.
        seed: Seed of all random numbers; None draws a seed.

    Raises:
        StrategyError: An argument is out of its range.
        SpaceExhausted: When a trial is sampled: all archs were tried.
    """

    settings: PairwiseGPSettings

    def __init__(self, initial: int = 20, candidates: int = 400, *, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self.settings = PairwiseGPSettings(initial, candidates)
        self._kernels: dict[int, tuple[bytes, PairKernel]] = {}
        self._vectors: CountedVectors | None = None

    def bind(self, space: ModelSpace, *, max_trials: int | None = None) -> None:
        super().bind(space, max_trials=max_trials)
        self._kernels, self._vectors = {}, CountedVectors(space)

    def ranked(self, study: Study, trial: FrozenTrial) -> Iterator[Arch]:
        scored = ScoredArchs.of(study, self.bound)
        if len(scored.archs) < self.settings.initial:
            yield from self._balanced(trial.number)
            return
        archs, vectors = self._candidates(study, scored)
        targets = np.stack([standardized(column) for column in scored.scores.T], axis=1)
        processes = self._processes(scored, targets, running_archs(study, self.bound, trial))
        predicted = [process.predicted(vectors) for process in processes]
        means, deviations = (np.stack(columns, axis=1) for columns in zip(*predicted, strict=True))
        # The second term is for archs that are equally hopeless.
        merits = expected_gains(means, deviations, targets) + 1e-9 * means.mean(axis=1)
        for index in np.argsort(-merits, kind="stable"):
            yield archs[index]

    def _balanced(self, number: int) -> Iterator[Arch]:
        """Yields the arch of one of the first trials; none for a later one, or if the space's check refuses the arch."""
        if number < self.settings.initial and (arch := balanced_arch(self.bound, number, self.settings.initial, self.seed)):
            yield arch

    def _candidates(self, study: Study, scored: ScoredArchs) -> tuple[Sequence[Arch], Vectors]:
        space = self.bound
        if space.grid_size <= GRID:
            return grid_vectors(space)
        half = self.settings.candidates // 2
        # With constraints that no trial meets there is no front.
        front = front_archs(study, space) if len(study.directions) > 1 else []
        parents = front or scored.best(PARENTS)
        archs = mutants(space, parents, half, 3, self._rng) + [space.random(self._rng) for _ in range(half)]
        return archs, self._as_vectors(archs)

    def _as_vectors(self, archs: Sequence[Arch]) -> Vectors:
        if self._vectors is None:
            self._vectors = CountedVectors(self.bound)
        return self._vectors(archs)

    def _processes(self, scored: ScoredArchs, targets: Numbers, running: Sequence[Arch]) -> list[PairProcess]:
        """Returns a process for each objective, which counts the scores of running trials as known and as expected."""
        vectors = self._as_vectors(scored.archs)
        processes = [
            PairProcess(vectors, column, self._kernel(number, vectors, scored.scores[:, number]))
            for number, column in enumerate(targets.T)
        ]
        return [process.believing(self._as_vectors(running)) for process in processes] if running else processes

    def _kernel(self, objective: int, vectors: Vectors, scores: Numbers) -> PairKernel:
        """Returns the likeliest kernel by all trials or, from 30 trials on, by the first 30, 40, ..., kept for ten trials."""
        count = len(scores) if len(scores) < 3 * EVERY else len(scores) - len(scores) % EVERY
        key = vectors[:count].tobytes() + scores[:count].tobytes()
        if objective not in self._kernels or self._kernels[objective][0] != key:
            self._kernels[objective] = key, PairKernel.likeliest(vectors[:count], standardized(scores[:count]))
        return self._kernels[objective][1]
