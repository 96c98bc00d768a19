"""Phase "search": runs the experiment of a search job in its run folder, and chooses the winner."""

from collections.abc import Callable, Mapping
from typing import Any

from hubserve import experiment as experiments
from hubserve.experiment import Executor, InlineExecutor, NasExperiment, ProcessExecutor, TrialRecord
from hubserve.jobs import ExecutorEntry, Run
from hubserve.latency.arch_latency import NAME
from hubserve.pipeline.phases.choose_winner import Winner, choose_winner
from hubserve.pipeline.resolved_search import ResolvedSearch
from hubserve.pipeline.saved_phases import load_or_compute
from hubserve.pipeline.status_writer import StatusWriter

WINNER, SEARCH = "winner.json", "search"


def search(resolved: ResolvedSearch, run: Run, status: StatusWriter) -> Winner:
    """Runs the search and returns its winner, which is saved in winner.json.

    Raises:
        NothingFeasibleError: No arch meets the constraints.
    """
    found = load_or_compute(run.path / WINNER, lambda: _search(resolved, run, status).model_dump(mode="json"))
    return Winner.model_validate(found)


def _search(resolved: ResolvedSearch, run: Run, status: StatusWriter) -> Winner:
    if resolved.searchers.shares_weights:
        status.begin("supernet", "training the shared weights")
    else:
        status.begin("search", "searching")
    progress = SearchProgress(status)
    experiment = progress.experiment = make_experiment(resolved, run, progress, status.step)
    write_trials(experiment, status)
    reason = experiment.run()
    progress.experiment = None
    if experiment.one_shot is not None:
        status.one_shot(experiment.one_shot.history, experiment.one_shot.cost_r2)
    write_trials(experiment, status)
    status.progress(f"{reason}; choosing the winner")
    return choose_winner(experiment, resolved)


class SearchProgress:
    """A callback for `NasExperiment(on_trial=...)` that writes the trials to the status of the job as they end.

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
    """Writes all trials of an experiment, the Pareto front and the best trial to the status."""
    best = experiment.top_trials()
    front = [trial.number for trial in experiment.pareto_front]
    status.trials(experiment.trials, front, best[0] if best else None)


def make_experiment(
    resolved: ResolvedSearch,
    run: Run,
    on_trial: Callable[[TrialRecord], None],
    on_step: Callable[[Mapping[str, Any]], None] | None = None,
) -> NasExperiment:
    """Returns the experiment of a run; for a resumed run it is the stored experiment, with its trials.

    Args:
        resolved: The job.
        run: The run; the experiment is stored in its folder.
        on_trial: Called with each trial that ends.
        on_step: Called with each history row of a one-shot strategy; None calls nothing.
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
        constraints=resolved.constraints,
        objectives=resolved.objectives,
        measures={NAME: resolved.search_latency},
        input_shape=(3, resolved.input_size, resolved.input_size),
        executor=make_executor(job.executor, own_ray=resolved.limits.own_ray),
        seed=job.seed,
        progress=False,
        on_trial=on_trial,
        search_strategy=resolved.searchers.then,
        on_step=on_step,
    )


def make_executor(entry: ExecutorEntry, *, own_ray: bool = False) -> Executor:
    """Returns the executor that a job names.

    Args:
        entry: The key `executor` of the job.
        own_ray: If True, a local Ray instance is started for the job and the variable RAY_ADDRESS is ignored.
    """
    if entry.kind == "processes":
        return ProcessExecutor(entry.workers)
    if entry.kind == "ray":
        # By attribute: Ray, an extra, is imported at that moment.
        make: Callable[..., Executor] = getattr(experiments, "RayExecutor")  # noqa: B009 - mypy knows no such name
        return make(entry.workers, **entry.ray_settings | ({"address": "local"} if own_ray else {}))
    return InlineExecutor()
