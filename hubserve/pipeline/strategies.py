"""`make_searchers`: makes the search strategies of a job from their names and arguments."""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from hubserve import strategy
from hubserve.errors import JobError, StrategyError, suggest
from hubserve.jobs import MultiTrialEntry, StrategyEntry
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


def make_searchers(entry: StrategyEntry, *, seed: int) -> Searchers:
    """Makes the strategies that a job names.

    Args:
        entry: The key `strategy` of the job.
        seed: Seed of the multi-trial strategy.

    Raises:
        JobError: A strategy or argument does not exist, a value is out of range, or `then` is missing or not allowed.
    """
    if entry.name not in ONE_SHOT:
        if entry.then is not None and entry.name in MULTI_TRIAL:
            raise JobError(f"strategy.then: {entry.name} proposes archs itself; `then` follows {' or '.join(ENDS_IN_SUPERNET)}")
        return Searchers(multi_trial(entry, key="strategy", seed=seed, known=[*MULTI_TRIAL, *ONE_SHOT]), None)
    if (entry.name in ENDS_IN_SUPERNET) != (entry.then is not None):
        reason = (
            "ends in a supernet: name the strategy that searches it" if entry.then is None else "ends in an arch: leave it out"
        )
        raise JobError(f"strategy.then: {entry.name} {reason}")
    first = _make(ONE_SHOT[entry.name], entry, key="strategy", more={})
    return Searchers(first, None if entry.then is None else multi_trial(entry.then, key="strategy.then", seed=seed))


def multi_trial(entry: MultiTrialEntry, *, key: str, seed: int, known: Iterable[str] = MULTI_TRIAL) -> Strategy:
    """Makes the multi-trial strategy that `entry` names.

    Args:
        entry: Name and arguments of the strategy.
        key: Key of the entry in the job file, for errors.
        seed: Seed of the strategy.
        known: Names of the strategies that are allowed here, for errors.

    Raises:
        JobError: There is no such strategy or argument, or a value is out of range.
    """
    if entry.name not in MULTI_TRIAL:
        raise JobError(f"{key}.name: no strategy is called {entry.name!r}. {suggest(entry.name, known)}")
    return _make(MULTI_TRIAL[entry.name], entry, key=key, more={"seed": seed})


def _make(kind: type[T], entry: MultiTrialEntry, *, key: str, more: Mapping[str, object]) -> T:
    """Calls `kind` with the arguments of `entry` and `more`; raises `JobError` if an argument is unknown or not valid."""
    known = [name for name in inspect.signature(kind).parameters if name not in ("seed", "args", "kwargs")]
    for name in entry.arguments:
        if name not in known:
            raise JobError(f"{key}.arguments.{name}: {entry.name} has no such argument. {suggest(name, known)}")
    try:
        return kind(**entry.arguments, **more)
    except (StrategyError, TypeError, ValueError) as error:
        raise JobError(f"{key}.arguments: {error}") from error
