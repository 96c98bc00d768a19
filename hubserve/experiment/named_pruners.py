"""Lists the pruners that are known by name (`PRUNERS`), and defines how a user's own are found (`PRUNER_KIND`)."""

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
"""The classes of pruners by name: those of Optuna, or with the arguments of Optuna's class and a seed (`Hyperband`)."""


def _problem(found: Any) -> str | None:
    if not inspect.isclass(found) or not issubclass(found, BasePruner):
        return "is no pruner: derive a class from optuna.pruners.BasePruner"
    if inspect.isabstract(found):
        return f"lacks {', '.join(sorted(found.__abstractmethods__))}, so it prunes nothing"
    return None


PRUNER_KIND = NamedKind("hubserve.pruners", "no pruner is called", ExperimentError, _problem)
"""Entry points, error class and check with which `find_named` finds the class of a pruner by its name or import path."""
