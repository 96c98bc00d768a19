"""`make_evaluator`: makes the evaluator of the user's own that a search names, from a function or a class."""

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

from hubserve.data.labelled_data import LabelledData
from hubserve.error_messages import suggest
from hubserve.errors import EvaluatorError, HubserveError, JobError
from hubserve.evaluator import Evaluator, FunctionalEvaluator
from hubserve.jobs import SearchJob
from hubserve.own_code import NamedKind, find_named
from hubserve.pipeline.strategies import Searchers
from hubserve.training.evaluator import TrainingEvaluator

SCORE = "val_acc"
"""Name of the score that an evaluator of a job gives, the first objective of every search."""

FROM_THE_JOB = ("data", "recipe")
"""Arguments that are given by the job to a function or class that has parameters of these names."""


def _problem(found: Any) -> str | None:
    if not callable(found):
        return f"is a {type(found).__name__}, and an evaluator is a function or a subclass of hubserve.evaluator.Evaluator"
    if not inspect.isclass(found):
        return None
    if not issubclass(found, Evaluator):
        return "is a class and no evaluator: derive it from hubserve.evaluator.Evaluator"
    if inspect.isabstract(found):
        return f"lacks {', '.join(sorted(found.__abstractmethods__))}, so it scores nothing"
    return None


EVALUATOR_KIND = NamedKind("hubserve.evaluators", "no evaluator is called", EvaluatorError, _problem)
"""How evaluators are found by their names."""


def check_evaluator(job: SearchJob, searchers: Searchers, *, refused: str | None = None) -> None:
    """Checks the evaluator that a search names, without the data; does nothing if it names none.

    Args:
        job: The search.
        searchers: Its strategies.
        refused: Reason for which no evaluator is imported, for the message; None imports it.

    Raises:
        JobError: There is no such evaluator or argument, it does not suit the strategy, or the job lacks `retrain`, without
            which nobody trains the winner.
    """
    if job.evaluator is None:
        return
    found = _find(job, refused)
    known = _parameters(found)
    for name in job.evaluator.arguments:
        if known is not None and name not in known:
            raise JobError(f"evaluator.arguments.{name}: {job.evaluator.name} has no such argument. {suggest(name, known)}")
    trains = inspect.isclass(found) and issubclass(found, TrainingEvaluator)
    if searchers.shares_weights and not trains:
        raise JobError(
            f"evaluator: {job.strategy.name} trains shared weights, and {job.evaluator.name} does not train: derive it from "
            "hubserve.evaluator.Classification, or choose a strategy that scores each arch, such as RegularizedEvolution"
        )
    if job.retrain is None and not trains:
        raise JobError(f"evaluator: {job.evaluator.name} leaves no weights to publish; give `retrain`, which trains the winner")


def make_evaluator(job: SearchJob, data: LabelledData) -> Evaluator:
    """Returns the evaluator of the user's own that a search names.

    A function is called with each network and the arguments; it returns the accuracy, or a dict with "val_acc". A class is
    called with the arguments. Both are also given the data and the recipe of the job, as `data` (a `LabelledData`) and `recipe`
    (a `hubserve.jobs.Recipe`), if they have parameters of these names.

    Args:
        job: The search, which names an evaluator.
        data: Its data.

    Raises:
        JobError: It cannot be imported or made, or does not give the score "val_acc".
    """
    if job.evaluator is None:
        raise JobError("evaluator: the job names none")
    found, name = _find(job), job.evaluator.name
    known = _parameters(found) or {}
    given = {key: value for key, value in (("data", data), ("recipe", job.recipe)) if key in known}
    arguments = given | job.evaluator.arguments
    try:
        made = _made(found, arguments)
    except (HubserveError, TypeError, ValueError) as error:
        raise JobError(f"evaluator: {name}: {error}") from error
    scores = [objective.name for objective in made.objectives]
    if SCORE not in scores:
        raise JobError(f"evaluator: {name} gives {', '.join(scores)}; a job needs {SCORE}: name it in its objectives")
    return made


def _made(found: Any, arguments: Mapping[str, Any]) -> Evaluator:
    made: Any = found if inspect.isclass(found) else partial(FunctionalEvaluator, found, (SCORE,))
    evaluator: Evaluator = made(**arguments)
    return evaluator


def _find(job: SearchJob, refused: str | None = None) -> Any:
    known: Mapping[str, Any] = {}
    try:
        return find_named(job.evaluator.name if job.evaluator else "", known, EVALUATOR_KIND, refused=refused)
    except EvaluatorError as error:
        raise JobError(f"evaluator.name: {error}") from error


def _parameters(found: Any) -> Mapping[str, inspect.Parameter] | None:
    """Returns the parameters of a function or class by name, without the network's; None if it takes any names."""
    try:
        parameters = dict(inspect.signature(found).parameters)
    except ValueError:  # Some built-in functions have none.
        return None
    if any(found.kind is found.VAR_KEYWORD for found in parameters.values()):
        return None
    network = next(iter(parameters), "") if not inspect.isclass(found) else ""
    return {name: parameter for name, parameter in parameters.items() if name != network}
