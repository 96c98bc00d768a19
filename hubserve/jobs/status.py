"""The records of a job's state, as in status.json, `--json` and the service's answers; `run_folder` writes the file."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from hubserve.package.accuracy_report import AccuracyReport

State = Literal["queued", "running", "stopping", "done", "failed", "stopped", "refused"]
Phase = Literal["search", "supernet", "retrain", "fine-tune", "test", "export", "profile", "publish"]
FINAL: frozenset[State] = frozenset({"done", "failed", "stopped", "refused"})
"""States in which no process works on the job."""


class _Record(BaseModel):
    # Not "forbid": a service of an older version can read what a newer job writes.
    model_config = ConfigDict(frozen=True, extra="ignore")


class ObjectiveInfo(_Record):
    """One score that the search optimizes.

    Attributes:
        name: Name of the score, such as val_acc.
        direction: Whether a larger or a smaller score is better.
    """

    name: str
    direction: Literal["maximize", "minimize"]


class TrialRow(_Record):
    """One trial of the search.

    Attributes:
        number: Number of the trial in the study, counted from 0.
        values: Scores and measures by name; without the objectives unless the trial is complete.
        state: "infeasible" means that the arch misses a constraint and was not trained; "running" trials have not ended.
        seconds: Duration in seconds; None while the trial runs, and for infeasible ones.
        reason: Why the trial failed, was pruned or is infeasible; empty otherwise.
    """

    number: int
    values: dict[str, float]
    state: Literal["complete", "failed", "pruned", "infeasible", "running"]
    seconds: float | None = None
    reason: str = ""


class Best(_Record):
    """The best feasible trial so far; with several objectives, the best one in the first objective.

    Attributes:
        number: Number of the trial; None if a one-shot strategy found the arch without trials.
        values: All scores and measures of the trial by name.
        arch: Chosen value of each choice by label.
    """

    number: int | None
    values: dict[str, float]
    arch: dict[str, Any]


class LabelProbabilities(_Record):
    """The probabilities that a one-shot strategy gives to the candidates of one choice, over time.

    Attributes:
        candidates: Names of the candidates.
        probabilities: One row for each step of `OneShotView.steps`, one column for each candidate; each row sums to 1.
    """

    candidates: list[str]
    probabilities: list[list[float]]


class OneShotView(_Record):
    """The progress of a one-shot strategy.

    Attributes:
        steps: Optimizer steps to which the other lists belong, at most some 200 of all steps.
        loss: Training loss at each of these steps; None at a step without one.
        labels: Probabilities of the candidates by choice label; empty for strategies that learn none.
        cost_r2: Share of the variance of costs that the table of a cost penalty explains, at most 1; None without such a
            table, and until the strategy ended.
    """

    steps: list[int] = []
    loss: list[float | None] = []
    labels: dict[str, LabelProbabilities] = {}
    cost_r2: float | None = None


class EpochRow(_Record):
    """The scores of one epoch of a fine-tuning.

    Attributes:
        epoch: Number of the epoch, from 1; 0 is the trained head before the other layers are trained.
        train_loss: Mean loss of the training batches; None for epoch 0.
        val_acc: Accuracy on the validation images, in [0, 1].
        val_loss: Mean cross entropy on the validation images.
        seconds: Seconds of the fine-tuning until the end of the epoch.
    """

    epoch: int
    train_loss: float | None
    val_acc: float
    val_loss: float
    seconds: float


def best_epoch(rows: Sequence[EpochRow]) -> EpochRow:
    """Returns the first epoch with the best validation accuracy and, of equal ones, the lowest validation loss.

    Args:
        rows: Scores of at least one epoch, in order.
    """
    return max(rows, key=lambda row: (row.val_acc, -row.val_loss))


class JobSummary(_Record):
    """The state of one run of a job and its result, without its single trials.

    Attributes:
        id: Name of the run folder.
        name: Name of the job.
        state: "queued" until the job's process starts, "stopping" from the request to stop until it ends, "refused" if the
            definition or the data cannot be used, so that nothing was run.
        phase: Current phase, or the last one of a run that ended; None before the first phase.
        message: One sentence about what the job is doing.
        created: Time at which the job was submitted.
        updated: Time at which this record was written.
        trials: Number of trials that ended, failed and pruned ones included, infeasible ones not.
        max_trials: Number of trials after which the search ends; None without such a limit.
        seconds: Seconds spent so far, over all processes that worked on the run.
        eta_seconds: Estimated seconds until the current phase ends; None if unknown.
        objectives: Scores that the search optimizes, the most important one first.
        best: Best feasible trial; None until there is one.
        plots: Names of the plots in plots/, without ".svg".
        test_acc: Accuracy of the trained winner on the test part, in [0, 1]; None until it was measured.
        notes: Sentences about what the job left out, such as a format that this Python does not support.
        published: Tag in the model store; None unless the job published a model.
        error: Why the job did not end as asked, and how to continue; None unless "failed", "stopped" or "refused".
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
    objectives: list[ObjectiveInfo] = []
    best: Best | None = None
    plots: list[str] = []
    test_acc: float | None = None
    notes: list[str] = []
    published: str | None = None
    error: str | None = None


class JobStatus(JobSummary):
    """The state of one run of a job, its search so far and its result.

    Attributes, besides those of JobSummary:
        history: All trials, ordered by number.
        pareto: Numbers of the trials on the Pareto front.
        oneshot: Progress of a one-shot strategy; None for jobs without one.
        epochs: Scores of the epochs of a fine-tuning so far; empty for searches.
        accuracy: Accuracy of the trained network on the test images in detail; None until it was measured.
    """

    history: list[TrialRow] = []
    pareto: list[int] = []
    oneshot: OneShotView | None = None
    epochs: list[EpochRow] = []
    accuracy: AccuracyReport | None = None
