"""Any Optuna sampler as a strategy: with a space, it proposes whole archs that the space's rules allow."""

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
    """Any Optuna sampler; it answers one choice after the other, again until the space's rules allow the arch.

    Args:
        sampler: Sampler that proposes the answers. It keeps its own seed and memory.
        seed: Seed of the strategy, which the sampler does not use; None draws one.

    Raises (when asked for a trial):
        StrategyError: The rules refused 1000 archs in a row.
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
        """The parameters that the sampler draws together, and their distributions."""
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
    """Any Optuna sampler, made anew for each trial with a seed of its own, so that a resumed study repeats nothing.

    Args:
        make: Function of a seed that returns a sampler, which must keep what it learns in the study, as Optuna's TPE, NSGA-II
            and GP do.
        seed: Seed from which those of the samplers follow; None draws one.

    Attributes:
        same_for_all_trials: Whether the parameters that a sampler of `make` draws together depend on the study alone, and not
            on the sampler's seed. One sampler is then kept to find them, which has read the earlier trials; a new one for each
            trial would read all trials of the study again.

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
    """`sampler` itself where it is a strategy, else a strategy that wraps it."""
    return sampler if isinstance(sampler, Strategy) else WrappedSampler(sampler)
