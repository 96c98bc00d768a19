"""Phase "search": runs the experiment of a search job in its run folder, and chooses the winner."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hubserve import experiment as experiments
from hubserve.experiment import Executor, InlineExecutor, NasExperiment, ProcessExecutor, TrialRecord
from hubserve.experiment.constraints import Measure
from hubserve.jobs import ExecutorEntry, Run
from hubserve.latency.arch_latency import NAME
from hubserve.pipeline.phases.choose_winner import Winner, choose_winner
from hubserve.pipeline.phases.zero_cost_filter import filter_constraints
from hubserve.pipeline.pruners import make_pruner
from hubserve.pipeline.resolved_search import ResolvedSearch
from hubserve.pipeline.saved_phases import load_or_compute
from hubserve.pipeline.status_writer import StatusWriter

WINNER, SEARCH = "winner.json", "search"


def search(resolved: ResolvedSearch, run: Run, status: StatusWriter) -> Winner:
    """Runs the search and returns its winner, which is saved in winner.json.

    Raises:
        NothingFeasibleError: No arch meets the constraints.
        ExperimentError: The search cannot run or continue, see `NasExperiment.run`.
        HubserveError: The job's filter or executor cannot be made, see `make_experiment`; or the supernet cannot be trained.
    """
    found = load_or_compute(run.path / WINNER, lambda: _search(resolved, run, status).model_dump(mode="json"))
    return Winner.model_validate(found)


def _search(resolved: ResolvedSearch, run: Run, status: StatusWriter) -> Winner:
    if resolved.searchers.shares_weights:
        status.begin("supernet", "training the shared weights")
    else:
        status.begin("search", "searching")
    progress = SearchProgress(status)
    experiment = progress.experiment = make_experiment(resolved, run, progress, status.step, status)
    write_trials(experiment, status)
    reason = experiment.run()
    for sentence in experiment.warm_start_notes:
        status.note(sentence)
    progress.experiment = None
    if experiment.one_shot is not None:
        status.one_shot(experiment.one_shot.history, experiment.one_shot.cost_r2)
    write_trials(experiment, status)
    status.progress(f"{reason}; choosing the winner")
    return choose_winner(experiment, resolved)


class SearchProgress:
    """A callback for `NasExperiment(on_trial=...)` that writes the trials to the status of the job when it is due.

    The first call after the training of a supernet begins the phase "search".

    Attributes:
        experiment: The running experiment, set by the caller; None before and after the experiment runs.
    """

    def __init__(self, status: StatusWriter) -> None:
        self._status = status
        self.experiment: NasExperiment | None = None

    def __call__(self, _: TrialRecord) -> None:
        if self._status.status.phase == "supernet":
            self._status.begin("search", "searching")
        if self._status.due and self.experiment is not None:
            write_trials(self.experiment, self._status)


def write_trials(experiment: NasExperiment, status: StatusWriter) -> None:
    """Writes all trials of an experiment, the Pareto front, the best trial and what the constraints refused to the status."""
    best = experiment.top_trials()
    front = [trial.number for trial in experiment.pareto_front]
    status.refusals(experiment.refusals, experiment.closest)
    status.trials(experiment.trials, front, best[0] if best else None)


def make_experiment(
    resolved: ResolvedSearch,
    run: Run,
    on_trial: Callable[[TrialRecord], None],
    on_step: Callable[[Mapping[str, Any]], None] | None = None,
    status: StatusWriter | None = None,
) -> NasExperiment:
    """Returns the experiment of a run; for a resumed run it is the stored experiment, with its trials.

    Args:
        resolved: The job.
        run: The run; the experiment is stored in its folder.
        on_trial: Called with each trial that ends.
        on_step: Called with each history row of a one-shot strategy; None calls nothing.
        status: Gets the message that archs are scored for the filter of the job; None writes none.

    Raises:
        EvaluatorError: A random arch has no score for the filter of the job.
        ExperimentError: Settings of the job cannot be combined, a number of its executor is out of its range, or the executor
            is Ray, which is not installed.
    """
    job = resolved.job
    return NasExperiment(
        resolved.space,
        resolved.search_evaluator,
        resolved.searchers.first,
        name=run.id,
        folder=run.path / SEARCH,
        max_trials=resolved.max_trials,
        max_seconds=job.budget.seconds,
        max_trial_seconds=job.budget.max_trial_seconds,
        constraints=(*resolved.constraints, *filter_constraints(resolved, run, status)),
        objectives=resolved.objectives,
        measures=_measures(resolved),
        input_shape=None if resolved.preprocess is None else (3, resolved.input_size, resolved.input_size),
        pruner=make_pruner(job),
        executor=make_executor(job.executor, own_ray=resolved.limits.own_ray, needs=_read_by_trials(resolved)),
        seed=job.seed,
        progress=False,
        on_trial=on_trial,
        search_strategy=resolved.searchers.then,
        on_step=on_step,
        warm_start=resolved.earlier,
    )


def _measures(resolved: ResolvedSearch) -> dict[str, Measure]:
    """Returns the functions that measure archs, by the name of what they measure, the faster ones first."""
    entry, measure = resolved.job.zero_cost_filter, resolved.filter_measure
    scores: dict[str, Measure] = {} if entry is None or measure is None else {entry.score: measure}
    return scores | {NAME: resolved.search_latency}


def _read_by_trials(resolved: ResolvedSearch) -> Sequence[Path]:
    """Returns the folder and one of the images that trials read, absolute; empty for data that comes with a library."""
    scan = resolved.scan
    return () if scan is None else tuple(path.absolute() for path in (scan.root, *(image.path for image in scan.images[:1])))


def make_executor(entry: ExecutorEntry, *, own_ray: bool = False, needs: Sequence[Path] = ()) -> Executor:
    """Returns the executor that a job names.

    Args:
        entry: The key `executor` of the job.
        own_ray: If True, a local Ray instance is started for the job and the variable RAY_ADDRESS is ignored.
        needs: Files and folders that trials read, which each machine of a Ray cluster must have, as absolute paths.

    Raises:
        ExperimentError: A number is out of its range, or the executor is Ray, which is not installed.
    """
    if entry.kind == "processes":
        return ProcessExecutor(entry.workers)
    if entry.kind == "ray":
        # By attribute: Ray, an extra, is imported at that moment.
        make: Callable[..., Executor] = getattr(experiments, "RayExecutor")  # noqa: B009 - mypy knows no such name
        return make(entry.workers, needs=needs, **entry.ray_settings | ({"address": "local"} if own_ray else {}))
    return InlineExecutor()
