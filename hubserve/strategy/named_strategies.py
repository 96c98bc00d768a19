"""The classes of strategies that have a name, how others are found by import path, and which arguments a class takes."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from optuna.samplers import BaseSampler

from hubserve import strategy
from hubserve.errors import StrategyError
from hubserve.find_named import NamedKind
from hubserve.similar_names import suggest
from hubserve.strategy import (
    BANANAS,
    NSGA2,
    TPE,
    GridSearch,
    LocalSearch,
    OneShotStrategy,
    PairwiseGP,
    ParetoEvolution,
    PolicyBasedRL,
    Random,
    RegularizedEvolution,
    Strategy,
)

MULTI_TRIAL: dict[str, type[Strategy]] = {
    kind.__name__: kind
    for kind in (
        Random,
        GridSearch,
        RegularizedEvolution,
        LocalSearch,
        BANANAS,
        PairwiseGP,
        TPE,
        PolicyBasedRL,
        NSGA2,
        ParetoEvolution,
    )
}

ONE_SHOT: dict[str, type[OneShotStrategy]] = {
    name: kind
    for name, kind in vars(strategy).items()
    if name in strategy.__all__ and inspect.isclass(kind) and issubclass(kind, OneShotStrategy) and not inspect.isabstract(kind)
}

ONE_OBJECTIVE = tuple(name for name, kind in MULTI_TRIAL.items() if kind.one_objective)
"""Names of the multi-trial strategies that optimize a single objective; the others accept several."""


def _problem(found: Any) -> str | None:
    if not inspect.isclass(found) or not issubclass(found, (Strategy, OneShotStrategy)):
        return "is no strategy: derive a class from hubserve.strategy.Strategy, or from OneShotStrategy"
    return _abstract(found)


def _sampler_problem(found: Any) -> str | None:
    if not inspect.isclass(found) or not issubclass(found, BaseSampler):
        return "proposes no archs: derive a class from hubserve.strategy.Strategy, or from a sampler of Optuna"
    return _abstract(found)


def _abstract(found: type[Any]) -> str | None:
    if inspect.isabstract(found):
        return f"lacks {', '.join(sorted(found.__abstractmethods__))}, so it cannot search"
    return None


STRATEGY_KIND = NamedKind("hubserve.strategies", "no strategy is called", StrategyError, _problem)
"""How strategies are found by their names."""

SAMPLER_KIND = NamedKind("hubserve.strategies", "no strategy is called", StrategyError, _sampler_problem)
"""How multi-trial strategies, and other samplers of Optuna, are found by their names."""


def unknown_argument(kind: type, arguments: Iterable[str]) -> tuple[str, str] | None:
    """Returns (name, sentence with near names) for the first of `arguments` that the class does not take; None if it takes all.

    "seed" counts as not taken, because it is set by whoever runs the strategy. A class of the user's own with **kwargs takes
    all other names.
    """
    parameters = inspect.signature(kind).parameters.values()
    any_number = [found.kind for found in parameters if found.kind in (found.VAR_POSITIONAL, found.VAR_KEYWORD)]
    known = [found.name for found in parameters if found.name != "seed" and found.kind not in any_number]
    takes_any = kind.__name__ not in MULTI_TRIAL and inspect.Parameter.VAR_KEYWORD in any_number
    for name in arguments:
        if name not in known and not (takes_any and name != "seed"):
            return name, suggest(name, known)
    return None


def takes_seed(kind: Callable[..., Any]) -> bool:
    """Returns whether a class or function takes the keyword argument `seed`, by its name or because it takes any keyword."""
    parameters = inspect.signature(kind).parameters.values()
    named = [found.name for found in parameters if found.kind in (found.POSITIONAL_OR_KEYWORD, found.KEYWORD_ONLY)]
    return "seed" in named or any(found.kind is found.VAR_KEYWORD for found in parameters)
