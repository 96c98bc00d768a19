"""Chain: a strategy behind middlewares, such as Filter and Deduplication, that refuse some of its proposals."""

import abc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution as Distribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from hubserve.errors import SpaceExhausted, StrategyError
from hubserve.space import Arch, ModelSpace
from hubserve.strategy.base import Strategy
from hubserve.strategy.sampler_adapter import as_strategy
from hubserve.strategy.settings_checks import at_least
from hubserve.strategy.tried_archs import TriedArchs


class Middleware(abc.ABC):
    """Accepts or refuses the archs that a strategy proposes, in a `Chain`.

    Args:
        patience: Number of its refusals for one trial, at least 1, after which the search ends.
    """

    def __init__(self, *, patience: int = 1000) -> None:
        self.patience = patience
        at_least(self, 1, "patience")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(patience={self.patience})"

    def bind(self, space: ModelSpace) -> None:
        """Sets the space; called before the first trial."""

    @abc.abstractmethod
    def accepts(self, study: Study, trial: FrozenTrial, arch: Arch) -> bool:
        """Whether `trial` may try `arch`; it must depend on the stored trials alone."""


class Filter(Middleware):
    """Accepts the archs for which a function returns true: those with few parameters, say, or with a certain answer.

    Args:
        accept: Function of an arch that returns whether it is accepted, always the same for the same arch. It is called for
            every proposal, so it should be quick.
        metric_for_invalid: An argument of NNI's that must be None: a refused arch is no trial here, and has no metric.
        patience: Number of its refusals for one trial, at least 1, after which the search ends.

    Raises:
        StrategyError: `metric_for_invalid` is given, or `patience` is below 1.
    """

    def __init__(
        self, accept: Callable[[Arch], bool], metric_for_invalid: float | None = None, *, patience: int = 1000
    ) -> None:
        super().__init__(patience=patience)
        if metric_for_invalid is not None:
            raise StrategyError(
                f"Filter: metric_for_invalid = {metric_for_invalid!r}: refused archs are no trials here; to score them all "
                "the same, raise in the evaluator and wrap it in hubserve.evaluator.FailureHandler"
            )
        self._accept = accept

    def accepts(self, study: Study, trial: FrozenTrial, arch: Arch) -> bool:
        return bool(self._accept(arch))


class Deduplication(Middleware):
    """Refuses archs that the study has tried, running and failed trials too.

    Args:
        action: "invalid" has the strategy propose again. NNI's "replay", which scores the arch as the first time, is a wrapper
            of the evaluator here: hubserve.evaluator.Replay.
        patience: Number of its refusals for one trial, at least 1, after which the search ends.

    Raises:
        StrategyError: `action` is not "invalid", or `patience` is below 1.
    """

    def __init__(self, action: str = "invalid", *, patience: int = 1000) -> None:
        super().__init__(patience=patience)
        if action != "invalid":
            more = "; wrap the evaluator in hubserve.evaluator.Replay instead" if action == "replay" else ""
            raise StrategyError(f'Deduplication: action = {action!r} is not "invalid"{more}')
        self._tried: TriedArchs | None = None

    def bind(self, space: ModelSpace) -> None:
        self._tried = TriedArchs(space)

    def accepts(self, study: Study, trial: FrozenTrial, arch: Arch) -> bool:
        return self._tried is None or arch not in self._tried.update(study, trial)


@dataclass(frozen=True)
class ChainSettings:
    """The arguments of `Chain`.

    Attributes:
        strategy: Strategy that proposes; a sampler of Optuna is wrapped.
    """

    strategy: Strategy
    middlewares: tuple[Middleware, ...]

    def __post_init__(self) -> None:
        if wrong := [middleware for middleware in self.middlewares if not isinstance(middleware, Middleware)]:
            raise StrategyError(
                f"Chain: {wrong[0]!r} is no middleware; known are Filter, Deduplication and subclasses of Middleware. "
                "MultipleEvaluation and FailureHandler wrap an evaluator: see hubserve.evaluator"
            )


class Chain(Strategy):
    """A strategy whose proposals must be accepted by middlewares, which are asked in their order.

    >>> Chain(RegularizedEvolution(), Filter(lambda arch: arch["depth"] < 4), Deduplication())

    Args:
        strategy: Strategy that proposes, or any sampler of Optuna. Its seed is that of the chain.
        middlewares: Middlewares that must all accept a proposal.

    Raises:
        StrategyError: One of `middlewares` is no middleware. When asked for a trial: `bind` was not called, since middlewares
            need whole archs.
        SpaceExhausted: When asked for a trial: a middleware refused as many proposals as it has patience, or the strategy
            has none left.
    """

    settings: ChainSettings

    def __init__(self, strategy: BaseSampler, *middlewares: Middleware) -> None:
        self.settings = ChainSettings(as_strategy(strategy), middlewares)
        super().__init__(seed=self.settings.strategy.seed)

    @property
    def seed(self) -> int:
        """The seed of the strategy that proposes."""
        return self.settings.strategy.seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self.settings.strategy.seed = seed

    def bind(self, space: ModelSpace, *, max_trials: int | None = None) -> None:
        super().bind(space, max_trials=max_trials)
        self.settings.strategy.bind(space, max_trials=max_trials)
        for middleware in self.settings.middlewares:
            middleware.bind(space)

    def propose(self, study: Study, trial: FrozenTrial) -> Arch:
        refusals = Counter[int]()
        while True:
            arch = self.settings.strategy.propose(study, trial)
            refusing = next((each for each in self.settings.middlewares if not each.accepts(study, trial, arch)), None)
            if refusing is None:
                return arch
            refusals[id(refusing)] += 1
            if refusals[id(refusing)] >= refusing.patience:
                raise SpaceExhausted(
                    f"{type(refusing).__name__} refused {refusing.patience} proposals of "
                    f"{type(self.settings.strategy).__name__} for one trial; there may be no other left"
                )

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        super().before_trial(study, trial)
        self.settings.strategy.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        self.settings.strategy.after_trial(study, trial, state, values)

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Distribution) -> Any:
        self.bound.choices  # noqa: B018 - raises where there is no space
        return self.settings.strategy.sample_independent(study, trial, param_name, param_distribution)
