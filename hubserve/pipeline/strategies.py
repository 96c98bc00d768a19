"""`make_searchers`: makes the search strategies of a job from their names and arguments."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from hubserve.errors import JobError, StrategyError
from hubserve.find_named import find_named
from hubserve.jobs import MultiTrialEntry, StrategyEntry
from hubserve.strategy import OneShotStrategy, Strategy
from hubserve.strategy.named_strategies import MULTI_TRIAL, ONE_SHOT, STRATEGY_KIND, takes_seed, unknown_argument
from hubserve.typed_arguments import typed_arguments

T = TypeVar("T")

ENDS_IN_SUPERNET = ("RandomOneShot",)
"""Names of the one-shot strategies that only train a supernet, so that `strategy.then` must search it."""


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
            strategy of the user's own cannot be imported or may not be.
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
    first = make_object(kind, entry, key="strategy", more={})
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
        JobError: There is no such strategy or argument, a value is out of range, the strategy trains a supernet, or one of the
            user's own cannot be imported or may not be.
    """
    kind = _find(entry, key=key, known=MULTI_TRIAL, refused=refused)
    if not issubclass(kind, Strategy):
        raise JobError(f"{key}.name: {entry.name} trains a supernet; name a strategy that proposes archs")
    return _make_strategy(kind, entry, key=key, seed=seed)


def _find(
    entry: MultiTrialEntry, *, key: str, known: Mapping[str, type[Strategy | OneShotStrategy]], refused: str | None
) -> type[Strategy | OneShotStrategy]:
    try:
        return find_named(entry.name, known, STRATEGY_KIND, refused=refused)
    except StrategyError as error:
        raise JobError(f"{key}.name: {error}") from error


def _make_strategy(kind: type[Strategy], entry: MultiTrialEntry, *, key: str, seed: int) -> Strategy:
    """Makes a multi-trial strategy; one of the user's own gets the seed of the job if its class takes a seed."""
    return make_object(kind, entry, key=key, more={"seed": seed} if takes_seed(kind) else {})


def make_object(kind: type[T], entry: MultiTrialEntry, *, key: str, more: Mapping[str, object]) -> T:
    """Calls a class with the arguments of an entry of a job, and returns the object.

    Args:
        kind: The class.
        entry: Its name in the job, for errors, and the arguments.
        key: Key of the entry in the job file, for errors.
        more: Further arguments, which the job gives itself.

    Raises:
        JobError: An argument is unknown or not valid, or the class raises a StrategyError, TypeError or ValueError. Its other
            exceptions are passed on.
    """
    unknown = unknown_argument(kind, entry.arguments)
    if unknown is not None:
        raise JobError(f"{key}.arguments.{unknown[0]}: {entry.name} has no such argument. {unknown[1]}")
    arguments = typed_arguments(kind, entry.arguments, where=f"{key}.arguments.", error=JobError)
    try:
        return kind(**arguments, **more)
    except (StrategyError, TypeError, ValueError) as error:
        raise JobError(f"{key}.arguments: {error}") from error
