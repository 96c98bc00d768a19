"""`as_strategy`, `WrappedSampler` and `Reseeded`, which make a strategy of any Optuna sampler."""

from collections.abc import Callable
from random import Random as Rng
from typing import Any
from weakref import WeakKeyDictionary

from optuna import Study
from optuna.distributions import BaseDistribution as Distribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from hubserve.space import Arch, Choice
from hubserve.strategy.base import Strategy
from hubserve.strategy.trial_params import distribution


class WrappedSampler(Strategy):
    """A strategy that asks an Optuna sampler for answers to the choices, again until the space's check accepts the arch.

    Args:
        sampler: The Optuna sampler. It keeps its own seed and its own state.
        seed: Seed of the strategy, which the sampler does not use; None draws a seed.

    Raises (when a trial is sampled):
        StrategyError: The check refused 1000 archs in a row.
    """

    def __init__(self, sampler: BaseSampler, *, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self._sampler = sampler

    def __repr__(self) -> str:
        name = type(self).__name__
        return super().__repr__() if self.settings else f"{name}({type(self._sampler).__name__}, seed={self.seed})"

    def propose(self, study: Study, trial: FrozenTrial) -> Arch:
        return self.allowed(lambda: self._arch(study, trial))

    def _arch(self, study: Study, trial: FrozenTrial) -> Arch:
        together = self._sampler.sample_relative(study, trial, self._sampled_together(study, trial))

        def sampled(choice: Choice) -> Any:
            categories = distribution(choice)
            if choice.label in together:
                picked = together[choice.label]
            elif categories.single():
                picked = categories.choices[0]
            else:
                picked = self._sampler.sample_independent(study, trial, choice.label, categories)
            return choice.from_category(picked)

        return self.bound.arch_from(sampled)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        super().before_trial(study, trial)
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, Distribution]:
        if self.space is not None:
            return super().infer_relative_search_space(study, trial)
        return self._sampled_together(study, trial)

    def _sampled_together(self, study: Study, trial: FrozenTrial) -> dict[str, Distribution]:
        """Returns the distributions of the parameters that the sampler draws together (its relative search space)."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, Distribution]) -> dict[str, Any]:
        if self.space is not None:
            return super().sample_relative(study, trial, search_space)
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Distribution) -> Any:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        self._sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._sampler.reseed_rng()


class Reseeded(WrappedSampler):
    """A strategy that creates an Optuna sampler for each trial with its own seed, so a resumed study repeats no random draws.

    Args:
        make: Function of a seed that returns a sampler. The sampler must learn from the study alone and keep no state of its
            own, as Optuna's TPE, NSGA-II and GP samplers do.
        seed: Seed from which the seeds of the samplers are derived; None draws a seed.

    Raises (when a trial is sampled):
        StrategyError: The space's check refused 1000 archs in a row.

    Attributes:
        same_for_all_trials: True if the relative search space of a sampler depends only on the study, not on its seed. A single
            sampler is then kept to infer it, which remembers the trials that it has read; a new sampler for each trial would
            read all trials of the study again.

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

    def _sampled_together(self, study: Study, trial: FrozenTrial) -> dict[str, Distribution]:
        if not self.same_for_all_trials:
            return super()._sampled_together(study, trial)
        if study not in self._readers:
            self._readers[study] = self._make(0)
        return self._readers[study].infer_relative_search_space(study, trial)


def as_strategy(sampler: BaseSampler) -> Strategy:
    """Returns `sampler` unchanged if it is a `Strategy`, else a `WrappedSampler` of it."""
    return sampler if isinstance(sampler, Strategy) else WrappedSampler(sampler)
