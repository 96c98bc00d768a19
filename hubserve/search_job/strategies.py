"""The strategies that a job can name, and how one is made from what the job says of it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TypeVar

from hubserve.errors import JobError, StrategyError, suggest
from hubserve.jobs import MultiTrialEntry
from hubserve.strategy import NSGA2, TPE, GridSearch, PolicyBasedRL, Random, RegularizedEvolution, Strategy

T = TypeVar("T")

MULTI_TRIAL: dict[str, type[Strategy]] = {
    "Random": Random,
    "GridSearch": GridSearch,
    "RegularizedEvolution": RegularizedEvolution,
    "TPE": TPE,
    "PolicyBasedRL": PolicyBasedRL,
    "NSGA2": NSGA2,
}


def multi_trial(entry: MultiTrialEntry, *, key: str, seed: int) -> Strategy:
    """The strategy that `entry` names.

    Args:
        entry: of the job.
        key: of the entry, for errors.
        seed: of the strategy.

    Raises:
        JobError: no such strategy, or it has no such argument, or does not take its value.
    """
    if entry.name not in MULTI_TRIAL:
        raise JobError(f"{key}.name: no strategy is called {entry.name!r}. {suggest(entry.name, MULTI_TRIAL)}")
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
