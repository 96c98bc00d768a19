"""`Chain`, a strategy whose proposals must be accepted by middlewares such as `Filter` and `Deduplication`."""

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
    """Base class of objects that accept or refuse the archs proposed by the strategy of a `Chain`.

    Args:
        patience: Number of archs, at least 1, that the middleware may refuse for one trial; then the search ends.

    Raises:
        StrategyError: `patience` is below 1.
    """

    def __init__(self, *, patience: int = 1000) -> None:
        self.patience = patience
        at_least(self, 1, "patience")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(patience={self.patience})"

    def bind(self, space: ModelSpace) -> None:
        """Sets the space; `Chain` calls it before the first trial. The default does nothing."""

    @abc.abstractmethod
    def accepts(self, study: Study, trial: FrozenTrial, arch: Arch) -> bool:
        """Returns whether `trial` may try `arch`; the answer must depend only on `arch` and the stored trials of `study`."""


class Filter(Middleware):
    """Accepts the archs for which a function returns True, e.g. those with few parameters or with a certain answer.

    Args:
        accept: Function of an arch that returns whether it is accepted; always the same for the same arch. It is called for
            every proposal, so it should be fast.
        metric_for_invalid: Must be None. NNI's argument of this name scores refused archs; here they are never trials.
        patience: Number of archs, at least 1, that may be refused for one trial; then the search ends.

    Raises:
        StrategyError: `metric_for_invalid` is not None, or `patience` is below 1.
    """

    def __init__(
        self, accept: Callable[[Arch], bool], metric_for_invalid: float | None = None, *, patience: int = 1000
    ) -> None:
        super().__init__(patience=patience)
        if metric_for_invalid is not None:
            raise StrategyError(
                f"Filter: metric_for_invalid = {metric_for_invalid!r}: refused archs are no trials here; to score them all "
                "the same, raise in the evaluator and wrap it in hubserve.evaluator.FailureHandler (docs/from-nni.md shows how)"
            )
        self._accept = accept

    def accepts(self, study: Study, trial: FrozenTrial, arch: Arch) -> bool:
        return bool(self._accept(arch))


class Deduplication(Middleware):
    """Refuses archs that another trial of the study has tried, including running and failed trials.

    Args:
        action: Must be "invalid": after a refusal the strategy proposes again. In place of NNI's "replay", which gives a
            repeated arch its first score, wrap the evaluator in `hubserve.evaluator.Replay`.
        patience: Number of archs, at least 1, that may be refused for one trial; then the search ends.

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
        strategy: The strategy that proposes archs. (`Chain` wraps other Optuna samplers in a strategy.)
        middlewares: Middlewares that must all accept a proposal, asked in this order.

    Raises:
        StrategyError: One of `middlewares` is not a `Middleware`.
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
    """A strategy whose proposals must be accepted by middlewares; after a refusal it proposes again.

    >>> Chain(RegularizedEvolution(), Filter(lambda arch: arch["depth"] < 4), Deduplication())

    Args:
        strategy: A strategy or another Optuna sampler that proposes archs. Its seed is also that of the chain.
        middlewares: Middlewares that must all accept a proposal, asked in this order.

    Raises:
        StrategyError: One of `middlewares` is not a `Middleware`; or, when a trial is sampled, `bind` was not called
            (middlewares need whole archs, so a chain needs a space).
        SpaceExhausted: When a trial is sampled: a middleware refused `patience` proposals, or the strategy has none left.
    """

    settings: ChainSettings

    def __init__(self, strategy: BaseSampler, *middlewares: Middleware) -> None:
        self.settings = ChainSettings(as_strategy(strategy), middlewares)
        super().__init__(seed=self.settings.strategy.seed)

    @property
    def one_objective(self) -> bool:  # type: ignore[override] # Of a strategy, a constant.
        """True if the strategy that proposes archs improves a single objective."""
        return self.settings.strategy.one_objective

    @property
    def seed(self) -> int:
        """The seed of the strategy that proposes archs; setting it sets that strategy's seed."""
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
