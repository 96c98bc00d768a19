"""What our strategies share: they are Optuna samplers without a memory of their own."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from random import Random as Rng
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from hubserve.errors import StrategyError
from hubserve.space import ModelSpace


class Strategy(BaseSampler):
    """An Optuna sampler whose proposal depends on the seed, the trial's number and the stored trials, and on nothing else.

    A study that was stopped, even by `kill -9`, therefore goes on as if it had not been, and with one worker the same seed
    gives the same history.

    Args:
        seed: None draws one; `strategy.seed` tells which.
    """

    def __init__(self, *, seed: int | None = None) -> None:
        self.seed = secrets.randbelow(2**31) if seed is None else seed
        self._priors: dict[str, tuple[float, ...]] = {}
        self._rng = Rng(self.seed)

    def bind(self, space: ModelSpace) -> None:
        """Tells the space before the first trial, for its priors; an experiment does this for its strategy."""
        self._priors = {label: choice.weights for label, choice in space.choices.items() if choice.weights is not None}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._rng = Rng(f"{self.seed}/{trial.number}")

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return draw(param_distribution, self._rng, self._priors.get(param_name))


def draw(distribution: BaseDistribution, rng: Rng, weights: Sequence[float] | None = None) -> Any:
    """A value of `distribution`, uniform (log-uniform where it says so), or by `weights` for a categorical one."""
    if isinstance(distribution, CategoricalDistribution):
        return rng.choices(distribution.choices, weights)[0] if weights else rng.choice(distribution.choices)
    if isinstance(distribution, IntDistribution) and not distribution.log:
        return rng.randrange(distribution.low, distribution.high + 1, distribution.step)
    if isinstance(distribution, IntDistribution):
        return round(_log_uniform(distribution.low, distribution.high, rng))
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        return distribution.low + distribution.step * rng.randrange(
            round((distribution.high - distribution.low) / distribution.step) + 1
        )
    if isinstance(distribution, FloatDistribution):
        sample = _log_uniform if distribution.log else (lambda low, high, source: source.uniform(low, high))
        return sample(distribution.low, distribution.high, rng)
    raise StrategyError(f"cannot sample {type(distribution).__name__}; known are categorical, int and float distributions")


def _log_uniform(low: float, high: float, rng: Rng) -> float:
    return float(low * (high / low) ** rng.random())


def completed(study: Study) -> list[FrozenTrial]:
    """Trials that ended with a value, in the order of their numbers; not copies."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def single_objective(study: Study, strategy: BaseSampler) -> int:
    """1 where larger is better, -1 where smaller is."""
    if len(study.directions) != 1:
        raise StrategyError(
            f"{type(strategy).__name__} searches for one objective and the study has {len(study.directions)}; "
            "use an Optuna sampler for several, such as optuna.samplers.NSGAIISampler"
        )
    return 1 if study.direction.name == "MAXIMIZE" else -1
