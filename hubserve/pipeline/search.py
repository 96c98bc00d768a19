"""The search of a job: an experiment in its run folder, and the winner it ends in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hubserve import experiment as experiment_room
from hubserve.experiment import Executor, InlineExecutor, NasExperiment, ProcessExecutor, TrialRecord
from hubserve.jobs import ExecutorEntry, Run
from hubserve.latency.arch_latency import NAME
from hubserve.pipeline.checkpoint import read_note, write_note
from hubserve.pipeline.resolve import Parts
from hubserve.pipeline.status_writer import Report
from hubserve.pipeline.winner import Winner, choose

WINNER, SEARCH = "winner.json", "search"


def search(parts: Parts, run: Run, report: Report) -> Winner:
    """The winner: noted in an earlier run of this job, or found now.

    Raises:
        NothingFeasibleError: no arch meets the constraints.
    """
    noted = read_note(run.path / WINNER)
    if noted is not None:
        return Winner.model_validate(noted)
    if parts.searchers.shares_weights:
        report.phase("supernet", "training the shared weights")
    else:
        report.phase("search", "searching")
    teller = Teller(report)
    experiment = make_experiment(parts, run, teller)
    teller.tell(experiment, last=False)
    reason = experiment.run()
    if experiment.one_shot is not None:
        report.course(experiment.one_shot.history, experiment.one_shot.cost_r2)
    teller.tell(experiment, last=True)
    report.say(f"{reason}; choosing the winner")
    winner = choose(experiment, parts)
    write_note(run.path / WINNER, winner.model_dump(mode="json"))
    return winner


class Teller:
    """Tells a report of an experiment's trials as they end."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.experiment: NasExperiment | None = None

    def __call__(self, _: TrialRecord) -> None:
        if self._report.status.phase == "supernet":
            self._report.phase("search", "searching")
        if self.experiment is not None and self._report.due:
            self.tell(self.experiment, last=False)

    def step(self, row: Mapping[str, Any]) -> None:
        """A step of a one-shot strategy."""
        self._report.step(row)

    def tell(self, experiment: NasExperiment, *, last: bool) -> None:
        """Of all trials; from now on of each that ends, unless it is the `last` time."""
        self.experiment = None if last else experiment
        best = experiment.top_trials()
        front = [trial.number for trial in experiment.pareto_front]
        self._report.trials(experiment.trials, front, best[0] if best else None)


def make_experiment(parts: Parts, run: Run, teller: Teller) -> NasExperiment:
    """The experiment of a job: the same one whenever the job goes on."""
    job = parts.job
    return NasExperiment(
        parts.space,
        parts.evaluator(job.recipe),
        parts.searchers.first,
        name=run.id,
        folder=run.path / SEARCH,
        max_trials=job.budget.trials,
        max_seconds=job.budget.seconds,
        constraints=parts.constraints,
        objectives=parts.objectives,
        measures={NAME: parts.search_latency},
        input_shape=(3, parts.input_size, parts.input_size),
        executor=make_executor(job.executor),
        seed=job.seed,
        progress=False,
        on_trial=teller,
        search_strategy=parts.searchers.then,
        on_step=teller.step,
    )


def make_executor(entry: ExecutorEntry) -> Executor:
    """Where the trials of a job run."""
    if entry.kind == "processes":
        return ProcessExecutor(entry.workers)
    if entry.kind == "ray":
        # By attribute: Ray, an extra, is imported at that moment.
        make: Callable[..., Executor] = getattr(experiment_room, "RayExecutor")  # noqa: B009 - mypy knows no such name
        return make(entry.workers, **entry.of_ray)
    return InlineExecutor()
