"""Optuna's samplers as strategies: told a space, they propose whole archs that its rules allow."""

from __future__ import annotations

from collections.abc import Callable
from random import Random as Rng
from typing import Any
from weakref import WeakKeyDictionary

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from hubserve.errors import StrategyError
from hubserve.space import Arch, Choice, ModelSpace
from hubserve.strategy.base import Strategy
from hubserve.strategy.trial_params import distribution

PATIENCE = 1000


class Sampled(Strategy):
    """Any Optuna sampler; asked for an arch, it answers choice by choice until the space's rules allow what it says.

    Args:
        sampler: keeps its own seed and memory.

    Raises (when asked for a trial):
        StrategyError: the rules refused 1000 archs in a row.
    """

    def __init__(self, sampler: BaseSampler, *, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self._sampler = sampler

    def propose(self, study: Study, trial: FrozenTrial) -> Arch:
        space = self.bound
        for _ in range(PATIENCE):
            arch = self._walk(space, study, trial)
            if space.allows(arch):
                return arch
        raise StrategyError(
            f"{type(self._sampler).__name__} proposed {PATIENCE} archs that the rules of {type(space).__name__} refuse"
        )

    def _walk(self, space: ModelSpace, study: Study, trial: FrozenTrial) -> Arch:
        together = self._sampler.sample_relative(study, trial, self._asked_together(study, trial))

        def sampled(choice: Choice) -> Any:
            categories = distribution(choice)
            if choice.label in together:
                picked = together[choice.label]
            elif categories.single():
                picked = categories.choices[0]
            else:
                picked = self._sampler.sample_independent(study, trial, choice.label, categories)
            return choice.from_category(picked)

        return space.arch_from(sampled)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        super().before_trial(study, trial)
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if self.space is not None:
            return super().infer_relative_search_space(study, trial)
        return self._asked_together(study, trial)

    def _asked_together(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters that the sampler draws together."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        if self.space is not None:
            return super().sample_relative(study, trial, search_space)
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        self._sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._sampler.reseed_rng()


class Reseeded(Sampled):
    """Any Optuna sampler, made anew for each trial with a seed of its own, so that a resumed study repeats nothing.

    Args:
        make: seed -> sampler; the sampler must keep what it learns in the study, as Optuna's TPE, NSGA-II and GP do.
        seed: see Strategy.

    Attributes:
        same_for_all_trials: whether samplers of `make` need not be asked themselves which parameters they draw together, since
            it only depends on the study: then a trial's cost does not grow with the number of trials as fast.

    >>> NasExperiment(space, evaluator, Reseeded(lambda seed: optuna.samplers.GPSampler(seed=seed)))
    """

    same_for_all_trials = False

    def __init__(self, make: Callable[[int], BaseSampler], *, seed: int | None = None) -> None:
        super().__init__(make(0), seed=seed)
        self._make = make
        self._readers: WeakKeyDictionary[Study, BaseSampler] = WeakKeyDictionary()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._sampler = self._make(Rng(f"{self.seed}/{trial.number}").randrange(2**31))
        super().before_trial(study, trial)

    def _asked_together(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if not self.same_for_all_trials:
            return super()._asked_together(study, trial)
        # One that stays has read the earlier trials; one made anew would read them all again.
        if study not in self._readers:
            self._readers[study] = self._make(0)
        return self._readers[study].infer_relative_search_space(study, trial)


def as_strategy(sampler: BaseSampler) -> Strategy:
    """`sampler` itself where it is a strategy, else wrapped, so that an experiment may be given any sampler of Optuna."""
    return sampler if isinstance(sampler, Strategy) else Sampled(sampler)
