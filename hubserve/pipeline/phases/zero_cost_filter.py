"""`filter_constraints`: the constraint by which a search job refuses archs with a low zero-cost score before training."""

from hubserve.experiment import Constraint, quantile_constraint
from hubserve.jobs import Run
from hubserve.pipeline.resolved_search import ResolvedSearch
from hubserve.pipeline.saved_phases import load_or_compute
from hubserve.pipeline.status_writer import StatusWriter

FILTER = "zero_cost_filter.json"
"""File in the run folder with the bound of the filter."""


def filter_constraints(resolved: ResolvedSearch, run: Run, status: StatusWriter | None = None) -> tuple[Constraint, ...]:
    """Returns the constraint of the job's filter as a tuple; an empty one for a job without a filter.

    The random archs are scored once for a run: the bound is saved in its folder.

    Args:
        resolved: The job.
        run: Its run.
        status: Gets the message that archs are scored; None writes none.

    Raises:
        EvaluatorError: A random arch has no such score.
    """
    entry, measure = resolved.job.zero_cost_filter, resolved.filter_measure
    if entry is None or measure is None:
        return ()

    def bound() -> float:
        if status is not None:
            status.progress(f"scoring {entry.archs} random archs by {entry.score}, for the filter")
        found = quantile_constraint(
            resolved.space, measure, entry.score, quantile=entry.quantile, archs=entry.archs, seed=resolved.job.seed
        )
        return found.bound

    return (Constraint(entry.score, ">=", load_or_compute(run.path / FILTER, bound)),)
