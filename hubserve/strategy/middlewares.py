"""Middlewares of a `Chain`: they accept or refuse the archs that a strategy proposes."""

from __future__ import annotations

import abc
from collections.abc import Callable

from optuna import Study
from optuna.trial import FrozenTrial

from hubserve.errors import StrategyError
from hubserve.space import Arch, ModelSpace
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
