"""Has NNI's functions, by which an evaluated function reports results and reads its trial, held by a context variable."""

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from hubserve.errors import EvaluatorError
from hubserve.training.evaluator import Trial

Metric = float | Mapping[str, float]
"""A result: either one number, the value of the first objective; or several numbers by the names of their objectives.

In a mapping the name "default" also means the first objective."""


@dataclass
class ReportedResults:
    """The results that a function has reported during an evaluation.

    Attributes:
        trial: Trial that the evaluation belongs to.
        main: Name of the first objective.
        intermediate: Intermediate values of the first objective, in the order of their reports.
        final: The final result; None until it is reported.
    """

    trial: Trial
    main: str = "default"
    intermediate: list[float] = field(default_factory=list)
    final: Metric | None = None


_REPORT: ContextVar[ReportedResults] = ContextVar("hubserve_report")


@contextlib.contextmanager
def reporting_to(report: ReportedResults) -> Iterator[ReportedResults]:
    """Context manager in which the functions of this module report to `report`."""
    token = _REPORT.set(report)
    try:
        yield report
    finally:
        _REPORT.reset(token)


def report_intermediate_result(metric: Metric) -> None:
    """Reports an intermediate value of the first objective during the evaluation, such as the accuracy after an epoch.

    Args:
        metric: The value, or a mapping that has the value under the name of the first objective or "default".

    Raises:
        TrialPruned: The trial must end now; the function must not catch this exception.
        EvaluatorError: The call is not inside a function that a `FunctionalEvaluator` evaluates, or `metric` is a mapping
            without the first objective.
    """
    report = _current()
    value = main_value(metric, report.main)
    report.intermediate.append(value)
    report.trial.report(len(report.intermediate) - 1, value)


def report_final_result(metric: Metric) -> None:
    """Reports the result of the evaluated function, which then need not return it; a second call replaces the first result.

    What the function returns, unless it is None, replaces the reported result.

    Args:
        metric: Value of the first objective, or a mapping with a value for each objective. It is checked when the function has
            returned.

    Raises:
        EvaluatorError: The call is not inside a function that a `FunctionalEvaluator` evaluates.
    """
    _current().final = metric


def current_trial() -> Trial:
    """Returns the trial that is being evaluated, with its number, its seed and a folder for files.

    Raises:
        EvaluatorError: The call is not inside a function that a `FunctionalEvaluator` evaluates.
    """
    return _current().trial


def get_sequence_id() -> int:
    """Returns the number of the trial that is being evaluated, from 0; -1 outside of a study.

    Raises:
        EvaluatorError: The call is not inside a function that a `FunctionalEvaluator` evaluates.
    """
    return current_trial().number


def get_trial_id() -> str:
    """Returns the id of the trial that is being evaluated: the name of its experiment, "/" and its number.

    Raises:
        EvaluatorError: The call is not inside a function that a `FunctionalEvaluator` evaluates.
    """
    return f"{current_trial().experiment}/{current_trial().number}"


def get_experiment_id() -> str:
    """Returns the name of the experiment of the trial that is being evaluated; "standalone" outside of an experiment.

    Raises:
        EvaluatorError: The call is not inside a function that a `FunctionalEvaluator` evaluates.
    """
    return current_trial().experiment


def main_value(metric: Metric, main: str) -> float:
    """Returns the value of the first objective: `metric` itself if it is a number, else its entry `main` or "default".

    Raises:
        EvaluatorError: `metric` is a mapping that has neither of these entries.
    """
    if not isinstance(metric, Mapping):
        return float(metric)
    for name in (main, "default"):
        if name in metric:
            return float(metric[name])
    raise EvaluatorError(f"reported {dict(metric)} without {main!r}, the first objective")


def _current() -> ReportedResults:
    report = _REPORT.get(None)
    if report is None:
        raise EvaluatorError("nothing is being evaluated here: report from a function that a FunctionalEvaluator calls")
    return report
