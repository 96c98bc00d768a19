"""`Strategy`, the base class of Optuna samplers that propose whole archs, and `suggest_arch`, which returns a trial's arch."""

import abc
import secrets
from collections.abc import Callable
from dataclasses import fields
from random import Random as Rng
from typing import Any

import optuna
from optuna import Study
from optuna.distributions import BaseDistribution as Distribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import BaseTrial, FrozenTrial, TrialState

from hubserve.errors import StrategyError
from hubserve.space import Arch, ModelSpace
from hubserve.strategy.trial_params import categories, distribution
from hubserve.strategy.tried_archs import TriedArchs

PATIENCE = 1000
"""Number of archs in a row that the space's check may refuse before `Strategy.allowed` raises an error."""


class Strategy(BaseSampler):
    """Base class of strategies: Optuna samplers whose proposals depend only on the seed, the trial's number and stored trials.

    A study that was stopped, even by `kill -9`, therefore continues as if it had not been, and with one worker the same seed
    gives the same history. Attributes of a strategy other than its settings only cache what can be computed from the study.

    After `bind` has set a space, the strategy proposes whole archs that the space's `check` accepts; `suggest_arch` calls
    `bind`. Without a space, e.g. in a study whose objective calls `suggest_categorical` itself, it suggests one parameter after
    the other.

    Args:
        seed: Seed of all random numbers; None draws a seed, which `strategy.seed` returns.

    Attributes:
        one_objective: True if the strategy improves a single objective; in a study with several, the first trial raises
            StrategyError.
        settings: A frozen dataclass with the arguments of the strategy except the seed; None if it has none.
        space: The space set by `bind`; None before.
        max_trials: The number of trials of the search set by `bind`; None if it is not known.
    """

    one_objective: bool = False
    settings: Any = None

    def __init__(self, *, seed: int | None = None) -> None:
        self.seed = secrets.randbelow(2**31) if seed is None else seed
        self.space: ModelSpace | None = None
        self.max_trials: int | None = None
        self._tried: TriedArchs | None = None
        self._distributions: dict[str, Distribution] = {}
        self._seeded_for = -1
        self._rng = Rng(self.seed)

    def __repr__(self) -> str:
        names = [] if self.settings is None else [field.name for field in fields(self.settings)]
        shown = "".join(f"{name}={getattr(self.settings, name)!r}, " for name in names)
        return f"{type(self).__name__}({shown}seed={self.seed})"

    def bind(self, space: ModelSpace, *, max_trials: int | None = None) -> None:
        """Sets the space and, if known, the number of trials of the search; an experiment calls it before the first trial."""
        self.space = space
        self.max_trials = max_trials
        self._tried = TriedArchs(space)
        self._distributions = {label: distribution(choice) for label, choice in space.choices.items()}

    @abc.abstractmethod
    def propose(self, study: Study, trial: FrozenTrial) -> Arch:
        """Returns an arch of `self.bound` that its `check` accepts.

        Called again for the same trial, e.g. because a filter refused the arch, it draws again or takes the next arch; a
        strategy that draws may return the same arch again.

        Raises:
            SpaceExhausted: No arch is left to propose.
            StrategyError: `bind` was not called, or the strategy finds no arch that the check accepts.
        """

    @property
    def bound(self) -> ModelSpace:
        """The space set by `bind`.

        Raises:
            StrategyError: `bind` was not called.
        """
        if self.space is None:
            raise StrategyError(f"{type(self).__name__} must know its space before the first trial: call strategy.bind(space)")
        return self.space

    def tried(self, study: Study, trial: FrozenTrial) -> TriedArchs:
        """Returns the archs that the trials of `study`, except `trial`, have tried in the space `self.bound`."""
        if self._tried is None:
            self._tried = TriedArchs(self.bound)
        return self._tried.update(study, trial)

    def allowed(self, propose: Callable[[], Arch]) -> Arch:
        """Calls `propose` until it returns an arch that the space's `check` accepts, and returns this arch.

        Raises:
            StrategyError: The check refused 1000 proposals in a row.
        """
        for _ in range(PATIENCE):
            if self.bound.allows(arch := propose()):
                return arch
        raise StrategyError(f"{self!r} proposed {PATIENCE} archs that the rules of {type(self.bound).__name__} refuse")

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        if self.one_objective:
            single_objective(study, self)
        self._seeded_for = trial.number
        self._rng = Rng(f"{self.seed}/{trial.number}")

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, Distribution]:
        # A copy: Optuna's PartialFixedSampler deletes the parameters that it has fixed.
        return dict(self._distributions)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, Distribution]) -> dict[str, Any]:
        if self.space is None:
            return {}
        if trial.number != self._seeded_for:
            # Several trials were asked for before this one is asked for its parameters.
            self.before_trial(study, trial)
        proposed = categories(self.propose(study, trial), self.bound)
        return {label: category for label, category in proposed.items() if label in search_space}

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Distribution) -> Any:
        seed = Rng(f"{self.seed}/{trial.number}/{param_name}").randrange(2**32)
        return RandomSampler(seed).sample_independent(study, trial, param_name, param_distribution)


def suggest_arch(trial: BaseTrial, space: ModelSpace) -> Arch:
    """Returns the arch that the trial's sampler proposes, with an answer to each active choice of the space.

    With it any Optuna study searches a model space:

    >>> study.optimize(lambda trial: evaluate(suggest_arch(trial, space)))

    If the sampler is a `Strategy` without a space, it is bound to `space` and then proposes only archs that `space.check`
    accepts. Other Optuna samplers do not know this check: call `space.check` on their archs, or wrap the sampler with
    `as_strategy`.

    Raises:
        SpaceExhausted: The strategy has no arch left. `study.optimize` ends with this error and marks its last trial as failed.
        StrategyError: The strategy cannot propose an arch, e.g. because the check refused 1000 in a row.
    """
    if isinstance(trial, optuna.Trial) and isinstance(trial.study.sampler, Strategy) and trial.study.sampler.space is None:
        trial.study.sampler.bind(space)
    return space.arch_from(lambda each: each.from_category(trial.suggest_categorical(each.label, distribution(each).choices)))


def completed(study: Study) -> list[FrozenTrial]:
    """Returns the trials that ended with a value, ordered by number; they are not copies and must not be changed."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def single_objective(study: Study, strategy: BaseSampler) -> int:
    """Returns 1 if the study maximizes its objective, -1 if it minimizes it.

    Raises:
        StrategyError: The study has several objectives.
    """
    if len(study.directions) != 1:
        raise StrategyError(
            f"{type(strategy).__name__} searches for one objective and the study has {len(study.directions)}; "
            "use NSGA2 for several, or another Optuna sampler that supports them"
        )
    return 1 if study.direction.name == "MAXIMIZE" else -1
