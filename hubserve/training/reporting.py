"""Functions that an evaluated function calls to tell its results, as in NNI: the trial it runs for is known by context."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from hubserve.errors import EvaluatorError
from hubserve.training.evaluator import Trial

Metric = float | Mapping[str, float]
"""One number, or several by name, "default" among them."""


@dataclass
class ReportedResults:
    """What has been told during an evaluation.

    Attributes:
        trial: that it belongs to.
        main: name of the number that a mapping without "default" tells about the first objective.
        intermediate: values in the order they were told.
        final: the result; None until it is told.
    """

    trial: Trial
    main: str = "default"
    intermediate: list[float] = field(default_factory=list)
    final: Metric | None = None


_REPORT: ContextVar[ReportedResults] = ContextVar("hubserve_report")


@contextlib.contextmanager
def reporting_to(report: ReportedResults) -> Iterator[ReportedResults]:
    """Inside, the functions below speak of `report`."""
    token = _REPORT.set(report)
    try:
        yield report
    finally:
        _REPORT.reset(token)


def report_intermediate_result(metric: Metric) -> None:
    """Tells a value on the way, such as the accuracy after an epoch.

    Raises:
        TrialPruned: the rest of this trial is not worth it; let it pass.
        EvaluatorError: nothing is being evaluated, or a mapping lacks the first objective.
    """
    report = _current()
    value = main_value(metric, report.main)
    report.intermediate.append(value)
    report.trial.report(len(report.intermediate) - 1, value)


def report_final_result(metric: Metric) -> None:
    """Tells the result of the evaluated function, in place of returning it.

    Raises:
        EvaluatorError: nothing is being evaluated.
    """
    _current().final = metric


def current_trial() -> Trial:
    """The trial that is being evaluated: its number, its seed, and a folder for files.

    Raises:
        EvaluatorError: nothing is being evaluated.
    """
    return _current().trial


def get_sequence_id() -> int:
    """The number of the trial that is being evaluated, from 0; raises EvaluatorError outside of one."""
    return current_trial().number


def get_trial_id() -> str:
    """The trial that is being evaluated, as text; raises EvaluatorError outside of one."""
    return f"{current_trial().experiment}/{current_trial().number}"


def get_experiment_id() -> str:
    """Name of the experiment whose trial is being evaluated; raises EvaluatorError outside of one."""
    return current_trial().experiment


def main_value(metric: Metric, main: str) -> float:
    """The number that stands for `metric`: itself, or that of the first objective, or "default".

    Raises:
        EvaluatorError: it has neither.
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
