"""Middlewares between a strategy and its study: they refuse proposals, and the strategy proposes again."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from hubserve.errors import SpaceExhausted, StrategyError
from hubserve.space import Arch, ModelSpace
from hubserve.strategy.base import Strategy, at_least
from hubserve.strategy.sampler_adapter import as_strategy
from hubserve.strategy.tried_archs import Tried


class Middleware(abc.ABC):
    """Accepts or refuses what a strategy proposes; `Chain` puts it to work.

    Args:
        patience: proposals in a row of which none was accepted, after which the search ends.
    """

    def __init__(self, *, patience: int = 1000) -> None:
        at_least(type(self).__name__, 1, patience=patience)
        self.patience = patience

    def bind(self, space: ModelSpace) -> None:
        """Tells the space before the first trial."""

    @abc.abstractmethod
    def accepts(self, study: Study, trial: FrozenTrial, arch: Arch) -> bool:
        """Whether `trial` may try `arch`; depends on the stored trials, and on nothing else."""


class Filter(Middleware):
    """Lets those archs pass for which a function says so: few parameters, say, or a label's value.

    Args:
        accept: arch -> bool, always the same for the same arch. It is called for every proposal, so it should be quick.
        metric_for_invalid: accepted for NNI's sake and must be None: a refused arch is no trial here, and has no metric.
        patience: see Middleware.
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
        action: "invalid" proposes again. NNI's "replay", which tells the strategy the score of the first time, is a wrapper of
            the evaluator here: hubserve.evaluator.Replay.
        patience: see Middleware.
    """

    def __init__(self, action: str = "invalid", *, patience: int = 1000) -> None:
        super().__init__(patience=patience)
        if action != "invalid":
            more = "; wrap the evaluator in hubserve.evaluator.Replay instead" if action == "replay" else ""
            raise StrategyError(f'Deduplication: action = {action!r} is not "invalid"{more}')
        self._tried: Tried | None = None

    def bind(self, space: ModelSpace) -> None:
        self._tried = Tried(space)

    def accepts(self, study: Study, trial: FrozenTrial, arch: Arch) -> bool:
        return self._tried is None or arch not in self._tried.of(study, trial)


class Chain(Strategy):
    """A strategy whose proposals pass through middlewares, the first one first.

    >>> Chain(RegularizedEvolution(), Filter(lambda arch: arch["depth"] < 4), Deduplication())

    Args:
        strategy: a strategy, or any sampler of Optuna.
        middlewares: all must accept a proposal.

    Raises (when asked for a trial):
        SpaceExhausted: one of them refused as many proposals in a row as it has patience, or the strategy has none left.
        StrategyError: no space was told, see Strategy: middlewares judge whole archs.
    """

    def __init__(self, strategy: BaseSampler, *middlewares: Middleware) -> None:
        self._strategy = as_strategy(strategy)
        super().__init__(seed=self._strategy.seed)
        wrong = [middleware for middleware in middlewares if not isinstance(middleware, Middleware)]
        if wrong:
            raise StrategyError(
                f"Chain: {wrong[0]!r} is no middleware; known are Filter, Deduplication and subclasses of Middleware. "
                "MultipleEvaluation and FailureHandler wrap an evaluator: see hubserve.evaluator"
            )
        self._middlewares = middlewares

    @property
    def seed(self) -> int:
        """The strategy's."""
        return self._strategy.seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._strategy.seed = seed

    def bind(self, space: ModelSpace, *, max_trials: int | None = None) -> None:
        super().bind(space, max_trials=max_trials)
        self._strategy.bind(space, max_trials=max_trials)
        for middleware in self._middlewares:
            middleware.bind(space)

    def propose(self, study: Study, trial: FrozenTrial) -> Arch:
        refusals = dict.fromkeys(range(len(self._middlewares)), 0)
        while True:
            arch = self._strategy.propose(study, trial)
            refusing = self._first_refusing(study, trial, arch)
            if refusing is None:
                return arch
            refusals[refusing] += 1
            middleware = self._middlewares[refusing]
            if refusals[refusing] >= middleware.patience:
                raise SpaceExhausted(
                    f"{type(middleware).__name__} refused {middleware.patience} proposals of "
                    f"{type(self._strategy).__name__} for one trial; there may be no other left"
                )

    def _first_refusing(self, study: Study, trial: FrozenTrial, arch: Arch) -> int | None:
        for place, middleware in enumerate(self._middlewares):
            if not middleware.accepts(study, trial, arch):
                return place
        return None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        super().before_trial(study, trial)
        self._strategy.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        self._strategy.after_trial(study, trial, state, values)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        self.bound.choices  # noqa: B018 - refuses when no space was told
        return self._strategy.sample_independent(study, trial, param_name, param_distribution)
