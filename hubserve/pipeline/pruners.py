"""`make_pruner`: makes the pruner of a search, which ends trials early, from its name and arguments."""

from collections.abc import Mapping
from typing import Any

from hubserve.errors import ExperimentError, JobError
from hubserve.experiment.epoch_pruner import EpochPruner
from hubserve.experiment.named_pruners import PRUNER_KIND, PRUNERS
from hubserve.find_named import find_named
from hubserve.jobs import SearchJob
from hubserve.pipeline.strategies import Searchers, make_object


def check_pruner(job: SearchJob, searchers: Searchers, *, refused: str | None = None) -> None:
    """Checks the pruner that a search names; does nothing if it names none.

    Args:
        job: The search.
        searchers: Its strategies.
        refused: Reason for which no pruner of the user's own is imported, for the message; None imports it.

    Raises:
        JobError: There is no such pruner or argument, a value is out of its range, or a pruner of the user's own cannot be
            imported or may not be; or trials of this search cannot end early, as they share weights, have several objectives,
            or, without an evaluator of the user's own, are trained for one epoch.
    """
    if job.pruner is None:
        return
    if searchers.shares_weights:
        raise JobError(
            f"pruner: {job.strategy.name} scores archs with shared weights, in one pass and without epochs; leave it out, or "
            "choose a strategy that trains each arch, such as RegularizedEvolution"
        )
    if len(job.objectives) > 1:
        raise JobError(
            f"pruner: trials are compared in one score, and the objectives are {', '.join(job.objectives)}; leave it out, or "
            "keep val_acc and hold the others under constraints"
        )
    if job.evaluator is None and job.recipe.epochs < 2:
        raise JobError("pruner: recipe.epochs = 1: trials are compared after an epoch, and end then; give at least 2")
    make_pruner(job, refused=refused)


def make_pruner(job: SearchJob, *, refused: str | None = None) -> EpochPruner | None:
    """Returns the pruner of a search; None if the job names none.

    Successive halving and Hyperband compare trials after the first epoch and the powers of `reduction_factor` unless the job
    says otherwise. Hyperband takes the seed of the job, and the epochs of the recipe for its largest resource unless the job
    says otherwise or names an evaluator.

    Args:
        job: The search.
        refused: Reason for which no pruner of the user's own is imported, for the message; None imports it.

    Raises:
        JobError: There is no such pruner or argument, a value is out of its range, or a pruner of the user's own cannot be
            imported or may not be.
    """
    if job.pruner is None:
        return None
    try:
        kind = find_named(job.pruner.name, PRUNERS, PRUNER_KIND, refused=refused)
    except ExperimentError as error:
        raise JobError(f"pruner.name: {error}") from error
    epochs = job.recipe.epochs if job.evaluator is None else None
    made = make_object(kind, job.pruner, key="pruner", more=_defaults(job, kind, epochs))
    return EpochPruner(made, epochs=epochs)


def _defaults(job: SearchJob, kind: type, epochs: int | None) -> Mapping[str, Any]:
    """Returns the arguments of a pruner that the job determines and does not give itself."""
    found: dict[str, Any] = {}
    if kind is PRUNERS["SuccessiveHalving"]:
        found = {"min_resource": 1}
    elif kind is PRUNERS["Hyperband"]:
        found = {"seed": job.seed, **({} if epochs is None else {"max_resource": epochs})}
    given = {} if job.pruner is None else job.pruner.arguments
    return {name: value for name, value in found.items() if name not in given}
