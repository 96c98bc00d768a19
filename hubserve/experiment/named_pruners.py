"""The pruners that are known by name, and how those of the user's own are found."""

import inspect
from typing import Any

from optuna.pruners import BasePruner, MedianPruner, PercentilePruner, SuccessiveHalvingPruner

from hubserve.errors import ExperimentError
from hubserve.find_named import NamedKind
from hubserve.strategy.optuna_internals import Hyperband

PRUNERS: dict[str, type[BasePruner]] = {
    "SuccessiveHalving": SuccessiveHalvingPruner,
    "Hyperband": Hyperband,
    "Median": MedianPruner,
    "Percentile": PercentilePruner,
}
"""The pruners by name: those of Optuna, whose arguments they take."""


def _problem(found: Any) -> str | None:
    if not inspect.isclass(found) or not issubclass(found, BasePruner):
        return "is no pruner: derive a class from optuna.pruners.BasePruner"
    if inspect.isabstract(found):
        return f"lacks {', '.join(sorted(found.__abstractmethods__))}, so it prunes nothing"
    return None


PRUNER_KIND = NamedKind("hubserve.pruners", "no pruner is called", ExperimentError, _problem)
"""How pruners are found by their names."""
