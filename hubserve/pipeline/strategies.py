"""The strategies that a job can name, and how one is made from what the job says of it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from hubserve.errors import JobError, StrategyError, suggest
from hubserve.jobs import MultiTrialEntry, StrategyEntry
from hubserve.strategy import NSGA2, TPE, GridSearch, PolicyBasedRL, Random, RegularizedEvolution, Strategy, oneshot
from hubserve.strategy.oneshot import OneShotStrategy

T = TypeVar("T")

MULTI_TRIAL: dict[str, type[Strategy]] = {
    "Random": Random,
    "GridSearch": GridSearch,
    "RegularizedEvolution": RegularizedEvolution,
    "TPE": TPE,
    "PolicyBasedRL": PolicyBasedRL,
    "NSGA2": NSGA2,
}

ONE_SHOT: dict[str, type[OneShotStrategy]] = {
    name: kind
    for name, kind in vars(oneshot).items()
    if name in oneshot.__all__ and inspect.isclass(kind) and issubclass(kind, OneShotStrategy) and not inspect.isabstract(kind)
}

ENDS_IN_SUPERNET = ("RandomOneShot",)
"""One-shot strategies that leave the choice of an arch to another strategy; the others end in an arch."""

ONE_OBJECTIVE = ("RegularizedEvolution", "PolicyBasedRL")
"""Strategies that compare trials by one score; the others take several."""


@dataclass(frozen=True)
class Searchers:
    """Who searches.

    Attributes:
        first: proposes archs, or trains shared weights.
        then: searches the supernet that the first one ends in; None where it does not.
    """

    first: Strategy | OneShotStrategy
    then: Strategy | None

    @property
    def shares_weights(self) -> bool:
        """Whether all archs are scored with the weights of one supernet."""
        return isinstance(self.first, OneShotStrategy)


def make_searchers(entry: StrategyEntry, *, seed: int) -> Searchers:
    """Those that `entry` names.

    Raises:
        JobError: no such strategy, or it has no such argument, or does not take its value, or `then` does not follow.
    """
    if entry.name not in ONE_SHOT:
        if entry.then is not None and entry.name in MULTI_TRIAL:
            raise JobError(f"strategy.then: {entry.name} proposes archs itself; `then` follows {' or '.join(ENDS_IN_SUPERNET)}")
        return Searchers(multi_trial(entry, key="strategy", seed=seed, known=[*MULTI_TRIAL, *ONE_SHOT]), None)
    if (entry.name in ENDS_IN_SUPERNET) != (entry.then is not None):
        says = (
            "ends in a supernet: name the strategy that searches it" if entry.then is None else "ends in an arch: leave it out"
        )
        raise JobError(f"strategy.then: {entry.name} {says}")
    first = made(ONE_SHOT[entry.name], entry, key="strategy", more={})
    return Searchers(first, None if entry.then is None else multi_trial(entry.then, key="strategy.then", seed=seed))


def multi_trial(entry: MultiTrialEntry, *, key: str, seed: int, known: Iterable[str] = MULTI_TRIAL) -> Strategy:
    """The strategy that `entry` names.

    Args:
        entry: of the job.
        key: of the entry, for errors.
        seed: of the strategy.
        known: names to choose from, for errors.

    Raises:
        JobError: no such strategy, or it has no such argument, or does not take its value.
    """
    if entry.name not in MULTI_TRIAL:
        raise JobError(f"{key}.name: no strategy is called {entry.name!r}. {suggest(entry.name, known)}")
    return made(MULTI_TRIAL[entry.name], entry, key=key, more={"seed": seed})


def made(kind: type[T], entry: MultiTrialEntry, *, key: str, more: Mapping[str, object]) -> T:
    """A strategy from its arguments, with `more` that the job decides. Raises JobError."""
    known = [name for name in inspect.signature(kind).parameters if name not in ("seed", "args", "kwargs")]
    for name in entry.arguments:
        if name not in known:
            raise JobError(f"{key}.arguments.{name}: {entry.name} has no such argument. {suggest(name, known)}")
    try:
        return kind(**entry.arguments, **more)
    except (StrategyError, TypeError, ValueError) as error:
        raise JobError(f"{key}.arguments: {error}") from error
