"""Optuna's samplers under the field's names, made repeatable trial by trial."""

from __future__ import annotations

from collections.abc import Callable
from random import Random as Rng
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from hubserve.strategy.base import Strategy


class Reseeded(Strategy):
    """Any Optuna sampler, made anew for each trial with a seed of its own, so that a resumed study repeats nothing.

    Args:
        make: seed -> sampler; the sampler must keep what it learns in the study, as Optuna's TPE, NSGA-II and GP do.
        seed: see Strategy.

    >>> NasExperiment(space, evaluator, Reseeded(lambda seed: optuna.samplers.NSGAIISampler(population_size=20, seed=seed)))
    """

    def __init__(self, make: Callable[[int], BaseSampler], *, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self._make = make
        self._sampler = make(self.seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._sampler = self._make(Rng(f"{self.seed}/{trial.number}").randrange(2**31))
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        self._sampler.after_trial(study, trial, state, values)


class TPE(Reseeded):
    """Tree-structured Parzen estimator: Optuna's, which learns where good trials differ from the rest.

    Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization", section 4. It follows the study's direction, unlike
    NNI's wrapper, which minimises whatever the metric means.

    Args:
        n_startup_trials: random trials before the first estimate.
        n_ei_candidates: draws of which the most promising is proposed.
        seed: see Strategy.
    """

    def __init__(self, n_startup_trials: int = 10, n_ei_candidates: int = 24, *, seed: int | None = None) -> None:
        super().__init__(
            lambda trial_seed: TPESampler(n_startup_trials=n_startup_trials, n_ei_candidates=n_ei_candidates, seed=trial_seed),
            seed=seed,
        )
