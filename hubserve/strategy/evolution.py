"""`RegularizedEvolution`, the strategy of Real et al. 2019 (aging evolution)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

from hubserve.errors import StrategyError
from hubserve.space import Arch, Choice
from hubserve.strategy.base import Strategy, completed, single_objective
from hubserve.strategy.settings_checks import at_least, probability
from hubserve.strategy.trial_params import trial_arch

CROSSOVERS = 500
"""Number of crossovers of two parents that the space's check may refuse before the first parent is used unchanged."""


@dataclass(frozen=True)
class RegularizedEvolutionSettings:
    """The arguments of `RegularizedEvolution` except its seed, documented there. Raises StrategyError if one is not valid."""

    population_size: int | None
    sample_size: int | None
    mutation_prob: float | None
    crossover: bool
    dedup: bool

    def __post_init__(self) -> None:
        at_least(self, 1, "population_size", "sample_size")
        probability(self, "mutation_prob")
        population, sample = self.population_size, self.sample_size
        if population is not None and sample is not None and sample > population:
            raise StrategyError(
                f"RegularizedEvolution: sample_size = {sample} is more than population_size = {population}; a tournament is a "
                "part of the population"
            )


class RegularizedEvolution(Strategy):
    """Aging evolution: mutates the best of a random sample of recent trials; the population is the most recent trials.

    Real et al. 2019, "Regularized Evolution for Image Classifier Architecture Search", algorithm 1
    (https://arxiv.org/abs/1802.01548). The population is the last `population_size` complete trials, ordered by number, so the
    *oldest* trial leaves the population, not the worst. A mutation changes the answer to one choice, never to the same answer;
    choices that become active by the change are drawn at random.

    The first `population_size` trials are random: with the paper's 100, NNI's default, the first 100 trials are random search.
    By default the population size depends on the number of trials of the search set by `bind` (500 if it is not known): 20 up
    to 500 trials, but at most half of the trials; above, a 25th of the trials, at most the paper's 100. It is never below
    `sample_size`. docs/decisions/0013 has the measurements.

    Args:
        population_size: Number of trials in the population, at least 1; None derives it from the number of trials, see above.
        sample_size: Number of trials in a tournament, drawn from the population with replacement, at least 1. None is two
            fifths of the population, which finds better archs within a few hundred trials than the paper's fourth.
        mutation_prob: None mutates exactly one choice, as the paper does. With a probability in [0, 1], the number of
            mutations, each of a random choice, is drawn: one with this probability for each choice of the parent, at least one
            in all. (NNI's 0.05 may make none, and may draw the old answer again.)
        crossover: True first takes the answer to each choice from one of two parents, each the winner of its own tournament.
        dedup: True never proposes an arch that the study has tried. After 500 children in a row that were tried before, the
            next untried arch of the space after a random position is proposed. The paper, without this, may train an arch
            again. Without a space, `dedup`, `crossover` and `mutation_prob` have no effect, see `Strategy`.
        seed: Seed of all random numbers; None draws a seed.

    Raises:
        StrategyError: An argument is out of its range, or `sample_size` is above `population_size`; or, when a trial is
            sampled, the study has several objectives.
        SpaceExhausted: When a trial is sampled, with `dedup`: all archs were tried.
    """

    one_objective = True
    settings: RegularizedEvolutionSettings

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
        self.settings = RegularizedEvolutionSettings(population_size, sample_size, mutation_prob, crossover, dedup)

    @property
    def population_size(self) -> int:
        """The number of trials in the population; trials are random until this many are complete."""
        if self.settings.population_size is not None:
            return int(self.settings.population_size)
        budget = self.max_trials or 500
        return max(min(budget // 2, max(20, min(100, budget // 25))), self.settings.sample_size or 1)

    @property
    def sample_size(self) -> int:
        """The number of trials that are drawn for a tournament."""
        return self.settings.sample_size or max(1, self.population_size * 2 // 5)

    def propose(self, study: Study, trial: FrozenTrial) -> Arch:
        population, sign = self._population(study), single_objective(study, self)

        def child() -> Arch:
            if len(population) < self.population_size:
                return self.bound.random(self._rng)
            return self._mutated(self._parent_arch(population, sign))

        return self.tried(study, trial).first_untried(child, self._rng) if self.settings.dedup else child()

    def _population(self, study: Study) -> list[FrozenTrial]:
        return completed(study)[-self.population_size :]

    def _tournament(self, population: Sequence[FrozenTrial], sign: int) -> FrozenTrial:
        contestants = self._rng.choices(population, k=self.sample_size)
        return max(contestants, key=lambda member: sign * member.values[0])

    def _parent_arch(self, population: Sequence[FrozenTrial], sign: int) -> Arch:
        parent = trial_arch(self._tournament(population, sign), self.bound)
        if not self.settings.crossover:
            return parent
        return self._crossed(parent, trial_arch(self._tournament(population, sign), self.bound))

    def _crossed(self, first: Arch, second: Arch) -> Arch:
        """Returns an arch that takes the answer to each choice from `first` or `second`, at random.

        Returns `first` if the space's check refused `CROSSOVERS` such archs.
        """
        space = self.bound

        def inherited(choice: Choice) -> Any:
            answers = [parent[choice.label] for parent in (first, second) if choice.label in parent]
            return self._rng.choice(answers) if answers else choice.random(self._rng)

        for _ in range(CROSSOVERS):
            arch = space.arch_from(inherited)
            if space.allows(arch):
                return arch
        return first

    def _mutated(self, arch: Arch) -> Arch:
        mutations = 1
        if self.settings.mutation_prob is not None:
            mutations = max(1, sum(self._rng.random() < self.settings.mutation_prob for _ in arch))
        for _ in range(mutations):
            arch = self.bound.mutate(arch, self._rng)
        return arch

    # The rest is for studies that suggest one parameter after the other.

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
        parent = self._tournament(self._population(study), single_objective(study, self))
        params = self._mutated_params(study, parent)
        return {label: value for label, value in params.items() if label in search_space}

    def _mutated_params(self, study: Study, parent: FrozenTrial) -> dict[str, Any]:
        """Returns the parameters of `parent` with one of them changed to another value."""
        labels = [label for label, distribution in parent.distributions.items() if not distribution.single()]
        if not labels:
            return dict(parent.params)
        label = self._rng.choice(labels)
        value = parent.params[label]
        while value == parent.params[label]:
            sampler = RandomSampler(self._rng.randrange(2**32))
            value = sampler.sample_independent(study, parent, label, parent.distributions[label])
        return {**parent.params, label: value}
