"""`make_searchers`: makes the search strategies of a job from their names and arguments."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from hubserve import strategy
from hubserve.error_messages import suggest
from hubserve.errors import JobError, StrategyError
from hubserve.jobs import MultiTrialEntry, StrategyEntry
from hubserve.own_code import NamedKind, find_named
from hubserve.strategy import NSGA2, TPE, GridSearch, OneShotStrategy, PolicyBasedRL, Random, RegularizedEvolution, Strategy

T = TypeVar("T")

MULTI_TRIAL: dict[str, type[Strategy]] = {
    kind.__name__: kind for kind in (Random, GridSearch, RegularizedEvolution, TPE, PolicyBasedRL, NSGA2)
}

ONE_SHOT: dict[str, type[OneShotStrategy]] = {
    name: kind
    for name, kind in vars(strategy).items()
    if name in strategy.__all__ and inspect.isclass(kind) and issubclass(kind, OneShotStrategy) and not inspect.isabstract(kind)
}

ENDS_IN_SUPERNET = ("RandomOneShot",)
"""Names of the one-shot strategies that only train a supernet, so that `strategy.then` must search it."""

ONE_OBJECTIVE = ("RegularizedEvolution", "PolicyBasedRL")
"""Names of the multi-trial strategies that optimize a single objective; the others accept several."""


@dataclass(frozen=True)
class Searchers:
    """The strategies of a job.

    Attributes:
        first: Strategy that proposes archs, or trains a supernet.
        then: Strategy that searches the trained supernet; None if `first` finds the arch itself.
    """

    first: Strategy | OneShotStrategy
    then: Strategy | None

    @property
    def shares_weights(self) -> bool:
        """Whether all archs are scored with the shared weights of a supernet."""
        return isinstance(self.first, OneShotStrategy)


def make_searchers(entry: StrategyEntry, *, seed: int, refused: str | None = None) -> Searchers:
    """Makes the strategies that a job names.

    Args:
        entry: The key `strategy` of the job.
        seed: Seed of the multi-trial strategy.
        refused: Reason for which no strategy of the user's own is imported, for the message; None imports it.

    Raises:
        JobError: A strategy or argument does not exist, a value is out of range, `then` is missing or not allowed, or a
            strategy of the user's own cannot be imported.
    """
    kind = _find(entry, key="strategy", known={**MULTI_TRIAL, **ONE_SHOT}, refused=refused)
    if issubclass(kind, Strategy):
        if entry.then is not None:
            raise JobError(f"strategy.then: {entry.name} proposes archs itself; `then` follows {' or '.join(ENDS_IN_SUPERNET)}")
        return Searchers(_make_strategy(kind, entry, key="strategy", seed=seed), None)
    if issubclass(kind, tuple(ONE_SHOT[name] for name in ENDS_IN_SUPERNET)) != (entry.then is not None):
        reason = (
            "ends in a supernet: name the strategy that searches it" if entry.then is None else "ends in an arch: leave it out"
        )
        raise JobError(f"strategy.then: {entry.name} {reason}")
    first = _make(kind, entry, key="strategy", more={})
    then = None if entry.then is None else multi_trial(entry.then, key="strategy.then", seed=seed, refused=refused)
    return Searchers(first, then)


def multi_trial(entry: MultiTrialEntry, *, key: str, seed: int, refused: str | None = None) -> Strategy:
    """Makes the multi-trial strategy that `entry` names.

    Args:
        entry: Name and arguments of the strategy.
        key: Key of the entry in the job file, for errors.
        seed: Seed of the strategy.
        refused: Reason for which no strategy of the user's own is imported, for the message; None imports it.

    Raises:
        JobError: There is no such strategy or argument, or a value is out of range.
    """
    kind = _find(entry, key=key, known=MULTI_TRIAL, refused=refused)
    if not issubclass(kind, Strategy):
        raise JobError(f"{key}.name: {entry.name} trains a supernet; name a strategy that proposes archs")
    return _make_strategy(kind, entry, key=key, seed=seed)


def _problem(found: Any) -> str | None:
    if not inspect.isclass(found) or not issubclass(found, (Strategy, OneShotStrategy)):
        return "is no strategy: derive a class from hubserve.strategy.Strategy, or from OneShotStrategy"
    if inspect.isabstract(found):
        return f"lacks {', '.join(sorted(found.__abstractmethods__))}, so it cannot search"
    return None


STRATEGY_KIND = NamedKind("hubserve.strategies", "no strategy is called", StrategyError, _problem)
"""How strategies are found by their names."""


def _find(
    entry: MultiTrialEntry, *, key: str, known: Mapping[str, type[Strategy | OneShotStrategy]], refused: str | None
) -> type[Strategy | OneShotStrategy]:
    try:
        return find_named(entry.name, known, STRATEGY_KIND, refused=refused)
    except StrategyError as error:
        raise JobError(f"{key}.name: {error}") from error


def _make_strategy(kind: type[Strategy], entry: MultiTrialEntry, *, key: str, seed: int) -> Strategy:
    """Makes a multi-trial strategy; one of the user's own gets the seed of the job if its class takes a seed."""
    taken = inspect.signature(kind).parameters.values()
    takes_seed = any(found.name == "seed" or found.kind is found.VAR_KEYWORD for found in taken)
    return _make(kind, entry, key=key, more={"seed": seed} if takes_seed else {})


def _make(kind: type[T], entry: MultiTrialEntry, *, key: str, more: Mapping[str, object]) -> T:
    """Calls `kind` with the arguments of `entry` and `more`; raises `JobError` if an argument is unknown or not valid."""
    parameters = inspect.signature(kind).parameters.values()
    any_number = [found.kind for found in parameters if found.kind in (found.VAR_POSITIONAL, found.VAR_KEYWORD)]
    known = [found.name for found in parameters if found.name != "seed" and found.kind not in any_number]
    takes_any = kind.__name__ not in MULTI_TRIAL and inspect.Parameter.VAR_KEYWORD in any_number
    for name in entry.arguments:
        if name not in known and not (takes_any and name != "seed"):
            raise JobError(f"{key}.arguments.{name}: {entry.name} has no such argument. {suggest(name, known)}")
    try:
        return kind(**entry.arguments, **more)
    except (StrategyError, TypeError, ValueError) as error:
        raise JobError(f"{key}.arguments: {error}") from error
