"""`FunctionalEvaluator`: an evaluator that calls a function of the user to score a network."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from hubserve.errors import EvaluatorError
from hubserve.similar_names import suggest
from hubserve.space import Arch, ModelSpace
from hubserve.training.evaluator import Evaluator, Objective, Trial
from hubserve.training.reporting import Metric, ReportedResults, reporting_to
from hubserve.training.seeding import seeded


class FunctionalEvaluator(Evaluator):
    """An evaluator that scores a network with a function, which returns or reports the scores.

    Args:
        function: Function that is called with the network (an `nn.Module` with random weights) and `arguments`. It returns the
            value of the only objective, a dictionary with the values of all objectives by name ("default" also means the first
            one), or None after a call of `hubserve.report_final_result` with one of these. What it returns, unless it is None,
            replaces what it reported.
        objectives: Scores that a search improves, the most important one first: names of scores that are maximised, or
            `Objective` objects.
        arguments: Further keyword arguments for `function`.

    Raises:
        EvaluatorError: `function` cannot be called with a network and `arguments`, or there is no objective.

    >>> evaluator = FunctionalEvaluator(train_and_test, epochs=3)
    >>> FunctionalEvaluator(measure, objectives=("accuracy", Objective("latency_ms", "minimize")))
    """

    def __init__(
        self, function: Callable[..., Metric | None], objectives: Sequence[str | Objective] = ("default",), **arguments: Any
    ) -> None:
        if not objectives:
            raise EvaluatorError("objectives is empty; name at least one number that the function returns")
        self.objectives = tuple(o if isinstance(o, Objective) else Objective(o) for o in objectives)
        self.function = function
        self.arguments = arguments
        _check_call(function, arguments)

    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        with seeded(trial.seed):
            return self.fit(space.freeze(arch), trial)

    def fit(self, model: nn.Module, trial: Trial | None = None) -> dict[str, float]:
        """Calls the function with `model` and returns the scores by name.

        Args:
            model: Network that is passed to the function.
            trial: Trial to which the function's reports go; None means `Trial()`.

        Raises:
            EvaluatorError: The function neither returned nor reported a result, or the result lacks an objective.
            TrialPruned: The trial was ended early.
            Exception: Any exception that the function raises.
        """
        with reporting_to(ReportedResults(trial or Trial(), self.objectives[0].name)) as report:
            returned = self.function(model, **self.arguments)
        return self._scores(report.final if returned is None else returned)

    def _scores(self, metric: Metric | None) -> dict[str, float]:
        if metric is None:
            raise EvaluatorError(
                f"{_name(self.function)} returned nothing and did not call hubserve.report_final_result; do one of the two"
            )
        first = self.objectives[0].name
        if not isinstance(metric, Mapping):
            metric = {first: metric}
        scores = {name: float(value) for name, value in metric.items()}
        if first not in scores and "default" in scores:
            scores[first] = scores["default"]
        for objective in self.objectives:
            if objective.name not in scores:
                raise EvaluatorError(
                    f"{_name(self.function)} gave {sorted(scores)} and not the objective {objective.name!r}. "
                    f"{suggest(objective.name, scores)}"
                )
        return scores


def _check_call(function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:  # Some built-in functions have none.
        return
    try:
        signature.bind(object(), **arguments)
    except TypeError as error:
        raise EvaluatorError(
            f"{_name(function)}{signature} cannot be called with a network and {sorted(arguments)}: {error}"
        ) from error


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
