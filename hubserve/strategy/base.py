"""What our strategies share: they are Optuna samplers without a memory of their own."""

from __future__ import annotations

import abc
import secrets
from random import Random as Rng
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from hubserve.errors import StrategyError
from hubserve.space import Arch, ModelSpace
from hubserve.strategy.trial_params import categories, distributions


class Strategy(BaseSampler):
    """An Optuna sampler whose proposal depends on the seed, the trial's number and the stored trials, and on nothing else.

    A study that was stopped, even by `kill -9`, therefore goes on as if it had not been, and with one worker the same seed
    gives the same history. What a strategy remembers beside the study only saves time.

    Told its space by `bind`, it proposes whole archs that the space's rules allow; `suggest_arch` tells it. In a study that
    calls `suggest_categorical` and its like itself, it answers parameter by parameter.

    Args:
        seed: None draws one; `strategy.seed` tells which.

    Attributes:
        space: that was told, or None.
        max_trials: the budget that was told, or None.
    """

    def __init__(self, *, seed: int | None = None) -> None:
        self.seed = secrets.randbelow(2**31) if seed is None else seed
        self.space: ModelSpace | None = None
        self.max_trials: int | None = None
        self._distributions: dict[str, BaseDistribution] = {}
        self._seeded_for = -1
        self._rng = Rng(self.seed)

    def bind(self, space: ModelSpace, *, max_trials: int | None = None) -> None:
        """Tells the space, and the budget where there is one, before the first trial; an experiment does this."""
        self.space = space
        self.max_trials = max_trials
        self._distributions = dict(distributions(space))

    @abc.abstractmethod
    def propose(self, study: Study, trial: FrozenTrial) -> Arch:
        """An arch of `self.bound` that its `check` allows; asked again for the same trial, another one where there is one.

        Raises:
            SpaceExhausted: there is no arch left to propose.
        """

    @property
    def bound(self) -> ModelSpace:
        """The space that was told.

        Raises:
            StrategyError: none was.
        """
        if self.space is None:
            raise StrategyError(f"{type(self).__name__} must know its space before the first trial: call strategy.bind(space)")
        return self.space

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._seeded_for = trial.number
        self._rng = Rng(f"{self.seed}/{trial.number}")

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        if self.space is None:
            return {}
        if trial.number != self._seeded_for:
            # Several trials were asked for before this one is asked what it tries.
            self.before_trial(study, trial)
        return categories(self.propose(study, trial), self.bound)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return draw(param_distribution, Rng(f"{self.seed}/{trial.number}/{param_name}"))


def draw(distribution: BaseDistribution, rng: Rng) -> Any:
    """A value of `distribution`, uniform, or log-uniform where it says so."""
    if isinstance(distribution, CategoricalDistribution):
        return rng.choice(distribution.choices)
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
            "use NSGA2 for several, or another Optuna sampler that knows how"
        )
    return 1 if study.direction.name == "MAXIMIZE" else -1


def at_least(owner: str, minimum: float, **settings: float | None) -> None:
    """Raises StrategyError for a setting below `minimum`; None passes."""
    for name, value in settings.items():
        if value is not None and not value >= minimum:
            raise StrategyError(f"{owner}: {name} = {value!r} must be at least {minimum}")


def probability(owner: str, **settings: float | None) -> None:
    """Raises StrategyError for a setting that is no probability; None passes."""
    for name, value in settings.items():
        if value is not None and not 0 <= value <= 1:
            raise StrategyError(f"{owner}: {name} = {value!r} is a probability, from 0 to 1")
