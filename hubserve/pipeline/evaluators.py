"""`make_evaluator`: makes the evaluator that a search names: `ZeroCost`, or a function or class of the user's own."""

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any, get_args

from hubserve.data.search_data import SearchData
from hubserve.errors import EvaluatorError, HubserveError, JobError
from hubserve.evaluator import Evaluator, FunctionalEvaluator, ZeroCost
from hubserve.find_named import NamedKind, find_named
from hubserve.jobs import SearchJob, ZeroCostName
from hubserve.jobs.search_job import EvaluatorEntry, Measure
from hubserve.pipeline.strategies import Searchers
from hubserve.similar_names import suggest
from hubserve.training.evaluator import Objective, TrainingEvaluator
from hubserve.typed_arguments import typed_arguments

EVALUATORS: dict[str, type[Evaluator]] = {"ZeroCost": ZeroCost}
"""The evaluators of hubserve that a job may name."""

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
        refused: Reason for which no code of the user is imported, for the message; None imports it. Evaluators of hubserve
            are found all the same.

    Raises:
        JobError: There is no such evaluator or argument, it cannot be imported or may not be, an argument has another type than
            it asks for, or it does not suit the strategy; or it leaves no weights, and the job has no `retrain` that trains the
            winner from new ones.
    """
    if job.evaluator is None:
        return
    found = _find(job, refused)
    known = _parameters(found)
    for name in job.evaluator.arguments:
        if known is not None and name not in known:
            raise JobError(f"evaluator.arguments.{name}: {job.evaluator.name} has no such argument. {suggest(name, known)}")
    _arguments(found, job.evaluator)
    trains = inspect.isclass(found) and issubclass(found, TrainingEvaluator)
    if searchers.shares_weights and not trains:
        raise JobError(
            f"evaluator: {job.strategy.name} trains shared weights, and {job.evaluator.name} does not train: derive it from "
            "hubserve.evaluator.Classification, or choose a strategy that scores each arch, such as RegularizedEvolution"
        )
    if job.retrain is None and not trains:
        raise JobError(f"evaluator: {job.evaluator.name} leaves no weights to publish; give `retrain`, which trains the winner")
    if job.retrain is not None and job.retrain.start == "inherited" and not trains:
        raise JobError(f"retrain.start = inherited: {job.evaluator.name} leaves no weights to inherit; choose new")


def make_evaluator(job: SearchJob, data: SearchData) -> Evaluator:
    """Returns the evaluator that a search names.

    A function is called with each network and the arguments; it returns the score that is the first objective of the job, or a
    dict with a value for each of its objectives that is no measure. A class is called with the arguments, and the evaluator
    must have these objectives. Both are also given the data and the recipe of the job, as `data` (such as a `LabelledData`) and
    `recipe` (a `hubserve.jobs.Recipe`), if they have parameters of these names.

    Args:
        job: The search, which names an evaluator.
        data: Its data.

    Raises:
        JobError: The job names no evaluator; or it cannot be imported, or raises a HubserveError, TypeError or ValueError when
            it is made (other exceptions of its code are passed on); or an argument has another type than it asks for; or it
            lacks an objective of the job, or has it with the other direction.
    """
    if job.evaluator is None:
        raise JobError("evaluator: the job names none")
    found, name = _find(job), job.evaluator.name
    known = _parameters(found) or {}
    given = {key: value for key, value in (("data", data), ("recipe", job.recipe)) if key in known}
    arguments = given | _arguments(found, job.evaluator)
    try:
        made = _made(found, job, arguments)
    except (HubserveError, TypeError, ValueError) as error:
        raise JobError(f"evaluator: {name}: {error}") from error
    given_scores = {objective.name: objective.direction for objective in made.objectives}
    for score in scores_of(job):
        if score.name not in given_scores:
            how = f"name one that it gives, such as objectives: {{{made.objectives[0].name}: {made.objectives[0].direction}}}"
            if name in EVALUATORS:
                how = f"choose one of {', '.join(get_args(ZeroCostName))}"
            raise JobError(
                f"evaluator: {name} gives {', '.join(given_scores)}, and the job's objectives have {score.name}: {how}"
            )
        if score.direction != given_scores[score.name]:
            raise JobError(
                f"objectives: {score.name}: {score.direction} is the wrong way; {name} has it to be {given_scores[score.name]}d"
            )
    return made


def scores_of(job: SearchJob) -> tuple[Objective, ...]:
    """Returns the objectives of a search that its evaluator gives; the others are measures, such as the latency."""
    return tuple(Objective(name, direction) for name, direction in job.objectives.items() if name not in get_args(Measure))


def _made(found: Any, job: SearchJob, arguments: Mapping[str, Any]) -> Evaluator:
    made: Any = found if inspect.isclass(found) else partial(FunctionalEvaluator, found, scores_of(job))
    evaluator: Evaluator = made(**arguments)
    return evaluator


def _arguments(found: Any, entry: EvaluatorEntry) -> dict[str, Any]:
    """Returns the arguments of the entry, with the types that the evaluator asks for. Raises JobError if one has another."""
    return typed_arguments(found, entry.arguments, where="evaluator.arguments.", error=JobError)


def _find(job: SearchJob, refused: str | None = None) -> Any:
    known: Mapping[str, Any] = EVALUATORS
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
