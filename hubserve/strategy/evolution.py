"""Regularized evolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from hubserve.errors import StrategyError
from hubserve.space import Arch, Choice, ModelSpace
from hubserve.strategy.base import Strategy, at_least, completed, draw, probability, single_objective
from hubserve.strategy.trial_params import trial_arch
from hubserve.strategy.tried_archs import Tried, untried

PATIENCE = 500


class RegularizedEvolution(Strategy):
    """Aging evolution: a tournament among the youngest trials picks a parent, its child differs in one choice, the oldest dies.

    Real et al. 2019, "Regularized Evolution for Image Classifier Architecture Search", algorithm 1
    (https://arxiv.org/abs/1802.01548). The population is the last `population_size` finished trials, in the order of their
    numbers, so the *oldest* dies, not the worst. The mutation changes one choice to another candidate, never to the same one;
    choices that this brings in are drawn.

    The first `population_size` trials are random: with the paper's 100, NNI's default, the first 100 trials are random search.
    By default the population follows the budget, where `bind` was told one: 20 up to 500 trials, though at most half of them,
    and a 25th of more, up to the paper's 100 for 2500. docs/decisions/0013 has the figures.

    Args:
        population_size: finished trials that are alive.
        sample_size: of these, drawn with replacement, take part in the tournament. The paper draws a fourth of the population;
            the default, two fifths, finds more in few hundred trials.
        mutation_prob: None mutates exactly one choice, as the paper does. A probability mutates as many choices, one after the
            other, as a coin of this probability picks among the parent's, and at least one. NNI's 0.05 may pick none, and
            may draw the candidate anew that was there.
        crossover: answer each choice as one of two parents does, each from a tournament of its own, then mutate.
        dedup: propose no arch that the study has tried: up to 500 children are made, each from a tournament of its own, then
            comes the next untried arch of the space from a random one on. The paper, without it, may train a child again. It
            takes effect where the space is known, as crossover and mutation_prob do, see Strategy.
        seed: see Strategy.

    Raises (when asked for a trial):
        SpaceExhausted: all archs were tried, with `dedup` only.
        StrategyError: the study has several objectives.
    """

    def __init__(
        self,
        population_size: int | None = None,
        sample_size: int | None = None,
        mutation_prob: float | None = None,
        crossover: bool = False,
        dedup: bool = True,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__(seed=seed)
        at_least("RegularizedEvolution", 1, population_size=population_size, sample_size=sample_size)
        probability("RegularizedEvolution", mutation_prob=mutation_prob)
        if population_size is not None and sample_size is not None and sample_size > population_size:
            raise StrategyError(
                f"RegularizedEvolution: sample_size = {sample_size} is more than population_size = {population_size}; a "
                "tournament is a part of the population"
            )
        self._asked_population = population_size
        self._asked_sample = sample_size
        self.mutation_prob = mutation_prob
        self.crossover = crossover
        self.dedup = dedup
        self._tried: Tried | None = None

    def bind(self, space: ModelSpace, *, max_trials: int | None = None) -> None:
        super().bind(space, max_trials=max_trials)
        self._tried = Tried(space) if self.dedup else None

    @property
    def population_size(self) -> int:
        """Finished trials that are alive; before there are as many, trials are random."""
        if self._asked_population is not None:
            return self._asked_population
        budget = self.max_trials or 500
        return max(min(budget // 2, max(20, min(100, budget // 25))), self._asked_sample or 1)

    @property
    def sample_size(self) -> int:
        """Members of a tournament."""
        return self._asked_sample or max(1, self.population_size * 2 // 5)

    def propose(self, study: Study, trial: FrozenTrial) -> Arch:
        space, population = self.bound, self._population(study)
        sign = single_objective(study, self)

        def child() -> Arch:
            if len(population) < self.population_size:
                return space.random(self._rng)
            return self._mutated(self._parent_arch(population, sign))

        if self._tried is None:
            return child()
        return untried(child, self._tried.of(study, trial), space, self._rng, patience=PATIENCE)

    def _population(self, study: Study) -> list[FrozenTrial]:
        return completed(study)[-self.population_size :]

    def _tournament(self, population: Sequence[FrozenTrial], sign: int) -> FrozenTrial:
        contestants = self._rng.choices(population, k=self.sample_size)
        return max(contestants, key=lambda member: sign * member.values[0])

    def _parent_arch(self, population: Sequence[FrozenTrial], sign: int) -> Arch:
        parent = trial_arch(self._tournament(population, sign), self.bound)
        if not self.crossover:
            return parent
        return self._crossed(parent, trial_arch(self._tournament(population, sign), self.bound))

    def _crossed(self, first: Arch, second: Arch) -> Arch:
        """Each choice as one of the two answers it; the first parent itself where the space's rules allow no other."""
        space = self.bound

        def inherited(choice: Choice) -> Any:
            answers = [parent[choice.label] for parent in (first, second) if choice.label in parent]
            return self._rng.choice(answers) if answers else choice.random(self._rng)

        for _ in range(PATIENCE):
            arch = space.arch_from(inherited)
            if space.allows(arch):
                return arch
        return first

    def _mutated(self, arch: Arch) -> Arch:
        mutations = 1
        if self.mutation_prob is not None:
            mutations = max(1, sum(self._rng.random() < self.mutation_prob for _ in arch))
        for _ in range(mutations):
            arch = self.bound.mutate(arch, self._rng)
        return arch

    # What follows serves studies that ask parameter by parameter.

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if self.space is not None:
            return super().infer_relative_search_space(study, trial)
        population = self._population(study)
        if len(population) < self.population_size:
            return {}
        return {label: distribution for member in population for label, distribution in member.distributions.items()}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        if self.space is not None or not search_space:
            return super().sample_relative(study, trial, search_space)
        return self._mutated_params(self._tournament(self._population(study), single_objective(study, self)))

    def _mutated_params(self, parent: FrozenTrial) -> dict[str, Any]:
        """The parent's parameters with one replaced."""
        labels = [label for label, distribution in parent.distributions.items() if not distribution.single()]
        if not labels:
            return dict(parent.params)
        label = self._rng.choice(labels)
        value = parent.params[label]
        while value == parent.params[label]:
            value = draw(parent.distributions[label], self._rng)
        return {**parent.params, label: value}
