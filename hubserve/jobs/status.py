"""The state of a job as records: they are the content of status.json, of `--json` output and of the service's answers.

`hubserve.jobs.run_folder` reads and writes the file.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from hubserve.package.accuracy_report import AccuracyReport

State = Literal["queued", "running", "stopping", "done", "failed", "stopped", "refused"]
"""States of a job; `JobSummary.state` explains them."""

Phase = Literal["search", "supernet", "retrain", "fine-tune", "test", "export", "profile", "publish"]
"""Phases of a job; each job has only some of them."""

TimedPart = Literal["check", "features"] | Phase
FINAL: frozenset[State] = frozenset({"done", "failed", "stopped", "refused"})
"""States of a job that has ended: no process works on it."""


class _Record(BaseModel):
    """Base class of the records. Unknown keys are ignored, so that an older version can read what a newer one writes."""

    # Not "forbid": a service of an older version can read what a newer job writes.
    model_config = ConfigDict(frozen=True, extra="ignore")


class ObjectiveInfo(_Record):
    """One score that the search optimizes.

    Attributes:
        name: Name of the score, such as "val_acc".
        direction: "maximize" if larger values are better, "minimize" if smaller ones are.
    """

    name: str
    direction: Literal["maximize", "minimize"]


class TrialRow(_Record):
    """One trial of the search.

    Attributes:
        number: Number of the trial in the study, counted from 0.
        values: Scores and measures by name. The objectives are only among them if the trial is complete.
        state: "running" until the trial ends. "infeasible" means that the arch violates a constraint and was not trained,
            "pruned" that training was ended early.
        seconds: Duration of the trial in seconds; None if it is running or infeasible.
        reason: Why the trial failed, was pruned or is infeasible; empty otherwise.
    """

    number: int
    values: dict[str, float]
    state: Literal["complete", "failed", "pruned", "infeasible", "running"]
    seconds: float | None = None
    reason: str = ""


class Best(_Record):
    """The best trial so far among those that meet the constraints. With several objectives, the first one decides.

    Attributes:
        number: Number of the trial; None if a one-shot strategy found the arch without trials.
        values: All scores and measures of the trial by name.
        arch: The chosen value of each choice, by the choice's label.
    """

    number: int | None
    values: dict[str, float]
    arch: dict[str, Any]


class LabelProbabilities(_Record):
    """The probabilities of the candidates of one choice in the course of a one-shot strategy.

    Attributes:
        candidates: Names of the candidates.
        probabilities: One row for each entry of `OneShotView.steps`, with one number for each candidate; each row sums to 1.
    """

    candidates: list[str]
    probabilities: list[list[float]]


class OneShotView(_Record):
    """The progress of a one-shot strategy, with a limited number of its steps.

    Attributes:
        steps: Numbers of the optimizer steps that are included, about 200 at most.
        loss: Training loss at each of `steps`; None if a step has none.
        labels: Probabilities of the candidates of each choice, by its label; empty if the strategy learns no probabilities.
        cost_r2: Coefficient of determination, at most 1, of the table that predicts the cost of archs for a cost penalty. None
            if there is no such table, or the strategy has not ended.
    """

    steps: list[int] = []
    loss: list[float | None] = []
    labels: dict[str, LabelProbabilities] = {}
    cost_r2: float | None = None


class EpochRow(_Record):
    """The scores of one epoch of a fine-tuning.

    Attributes:
        epoch: Number of the epoch, counted from 1. Epoch 0 stands for the state after the head alone was trained.
        train_loss: Mean loss of the training batches; None for epoch 0.
        val_acc: Accuracy on the validation images, in [0, 1].
        val_loss: Mean cross entropy on the validation images.
        seconds: Seconds from the start of the fine-tuning to the end of the epoch.
    """

    epoch: int
    train_loss: float | None
    val_acc: float
    val_loss: float
    seconds: float


def best_epoch(rows: Sequence[EpochRow]) -> EpochRow:
    """Returns the epoch with the highest validation accuracy; of several, the one with the lowest validation loss.

    If these are equal as well, the first one is returned.

    Args:
        rows: Scores of the epochs, in order; at least one.
    """
    return max(rows, key=lambda row: (row.val_acc, -row.val_loss))


class PartTime(_Record):
    """The duration of one part of a job, as estimated before the training and as measured.

    Attributes:
        part: A phase; or "check", the check of the user's images before the first phase; or "features", the part of the phase
            "fine-tune" in which features of the early layers are computed.
        estimated: Estimated duration in seconds; None if it is not estimated.
        seconds: Measured duration in seconds; None until the part has ended. The time of a process that was killed in it is
            not included, that of one that was stopped is.
    """

    part: TimedPart
    estimated: float | None = None
    seconds: float | None = None


def estimated_total(times: Sequence[PartTime]) -> float | None:
    """Returns the sum of the estimated seconds, in which "features" are part of "fine-tune"; None if nothing is estimated."""
    found = [time.estimated for time in times if time.estimated is not None and time.part != "features"]
    return sum(found) if found else None


class JobSummary(_Record):
    """The state of one run of a job and its result, without its trials and epochs.

    Attributes:
        id: Name of the run folder.
        name: Name of the job.
        state: "queued" until the job's process starts, then "running". "stopping" from the request to stop until the process
            ends, then "stopped". "done" after all phases. "refused" if the definition or the data cannot be used, so that no
            phase was begun. "failed" after any other error, and if the process was killed.
        phase: Current phase, or the last one if the run has ended; None before the first phase.
        message: One sentence about what the job is doing.
        created: Time at which the job was submitted.
        updated: Time at which this record was written.
        trials: Number of trials that ended, including failed and pruned ones, without infeasible ones.
        max_trials: Number of trials after which the search ends; None if there is no such limit.
        seconds: Seconds that the job has run, summed over all processes that worked on it.
        eta_seconds: Estimated seconds until the current phase ends; None if unknown.
        estimated_seconds: Estimated seconds of fine-tuning, test, export and profile together; None for searches, and until
            they are estimated.
        objectives: Scores that the search optimizes, the most important one first; empty for a fine-tuning.
        best: Best trial that meets the constraints; None until there is one.
        plots: Names of the plots in plots/, without ".svg".
        test_acc: Accuracy of the trained network on the test images, in [0, 1]; None until it is measured, or if there are no
            test images.
        notes: Sentences about what the job left out, such as a format that this version of Python does not support.
        published: Tag in the model store under which the network was published; None unless it was.
        error: Why the job did not end as asked, and how to resume it; None unless the state is "failed", "stopped" or
            "refused".
    """

    id: str
    name: str
    state: State
    phase: Phase | None = None
    message: str = ""
    created: datetime
    updated: datetime
    trials: int = 0
    max_trials: int | None = None
    seconds: float = 0.0
    eta_seconds: float | None = None
    estimated_seconds: float | None = None
    objectives: list[ObjectiveInfo] = []
    best: Best | None = None
    plots: list[str] = []
    test_acc: float | None = None
    notes: list[str] = []
    published: str | None = None
    error: str | None = None


class JobStatus(JobSummary):
    """The state of one run of a job and its result, with its trials and epochs.

    Attributes, besides those of `JobSummary`:
        history: All trials, ordered by number.
        pareto: Numbers of the trials on the Pareto front.
        oneshot: Progress of a one-shot strategy; None for jobs without one.
        epochs: Scores of the epochs of a fine-tuning so far; empty for searches.
        times: Estimated and measured durations of the parts of the job so far.
        accuracy: Detailed accuracy of the trained network on the test images; None until it is measured, or if there are no
            test images.
    """

    history: list[TrialRow] = []
    pareto: list[int] = []
    oneshot: OneShotView | None = None
    epochs: list[EpochRow] = []
    times: list[PartTime] = []
    accuracy: AccuracyReport | None = None
