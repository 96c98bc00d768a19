"""The state of a job as records: they are the content of status.json, of `--json` output and of the service's answers.

`hubserve.jobs.run_folder` reads and writes the file.
"""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from hubserve.package.accuracy_report import AccuracyReport

State = Literal["queued", "running", "stopping", "done", "failed", "stopped", "refused"]
"""States of a job; `JobSummary.state` explains them."""

Phase = Literal["search", "supernet", "retrain", "fine-tune", "test", "export", "profile", "front", "publish"]
"""Phases of a job; each job has only some of them."""

TimedPart = Literal["check", "features"] | Phase
FINAL: frozenset[State] = frozenset({"done", "failed", "stopped", "refused"})
"""States of a job that has ended: no process works on it."""


class _Record(BaseModel):
    """Base class of the records. Unknown keys are ignored, so that an older version can read what a newer one writes."""

    # Not "forbid": a service of an older version can read what a newer job writes.
    model_config = ConfigDict(frozen=True, extra="ignore")


def _finite(values: dict[str, float]) -> dict[str, float]:
    """Returns the entries whose value is finite. JSON has no other numbers, so that nobody could read the record."""
    return {name: value for name, value in values.items() if math.isfinite(value)}


Values = Annotated[dict[str, float], AfterValidator(_finite)]
"""Scores and measures by name; those that are infinite or NaN are left out."""


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
        values: Scores and measures by name: all of them if the trial is complete; the measures that were taken if it is
            infeasible; else none. Those that are infinite or NaN are left out.
        state: "running" until the trial ends. "infeasible" means that the arch violates a constraint and was not trained,
            "pruned" that training was ended early.
        seconds: Duration of the trial in seconds; None if it is running or infeasible.
        reason: Why the trial failed, was pruned or is infeasible; empty otherwise.
        earlier: Name of the earlier study from which the trial was added, and its number there; None for a trial of this
            search.
    """

    number: int
    values: Values
    state: Literal["complete", "failed", "pruned", "infeasible", "running"]
    seconds: float | None = None
    reason: str = ""
    earlier: tuple[str, int] | None = None


class RefusalRow(_Record):
    """The archs that one constraint of a search refused, so that they were not evaluated.

    Attributes:
        constraint: The constraint as text, such as "params <= 40000".
        refused: Number of trials whose arch violates the constraint; one that violates several is counted at each of them.
        checked: Number of trials whose arch was compared with the constraint. Measures after the first violated constraint are
            not taken, so it may be smaller than the number of trials.
        least: Smallest relative violation: 0.05 if the nearest refused arch is 5 % beyond the bound. None if none was refused.
        median: Median of the relative violations; None if none was refused.
        most: Largest relative violation; None if none was refused.
    """

    constraint: str
    refused: int
    checked: int
    least: float | None = None
    median: float | None = None
    most: float | None = None


class Closest(_Record):
    """The trial that violates the constraints least, if no arch met them.

    Attributes:
        number: Number of the trial.
        values: The measures that were taken, by name.
        arch: The chosen value of each choice, by the choice's label.
        reason: Sentence that says which constraints are violated and by how much.
    """

    number: int
    values: Values
    arch: dict[str, Any]
    reason: str


class Best(_Record):
    """The best trial so far among those that meet the constraints. With several objectives, the first one decides.

    Attributes:
        number: Number of the trial; None if a one-shot strategy found the arch without trials.
        values: All scores and measures of the trial by name.
        arch: The chosen value of each choice, by the choice's label.
    """

    number: int | None
    values: Values
    arch: dict[str, Any]


class ComparedRow(_Record):
    """A network that a search trained, tested and profiled, for the comparison of what it found with networks made by hand.

    Attributes:
        name: Name in the model store; for a baseline, its name in the job, or "uniform-1" and so on.
        kind: "winner"; "front", another member of the Pareto front; or "baseline", a network made by hand.
        number: Number of its trial; None for a baseline, and for a winner that a one-shot strategy found without trials.
        val_acc: Accuracy on the validation images, in [0, 1]; None if it was not measured.
        test_acc: Accuracy on the test part, in [0, 1]; None if there is none.
        latency_ms: Median latency of its ONNX file in milliseconds, by its profile; None if it was not measured.
        params: Number of parameters; None if it is not known.
        macs: Number of multiply-accumulates for one image; None if it is not known.
        published: Tag in the model store; None unless it was published. None for the winner: `JobSummary.published` has it.
    """

    name: str
    kind: Literal["winner", "front", "baseline"]
    number: int | None
    val_acc: float | None = None
    test_acc: float | None = None
    latency_ms: float | None = None
    params: int | None = None
    macs: int | None = None
    published: str | None = None


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
        val_images: Number of validation images; None in runs of versions that did not write it.
    """

    epoch: int
    train_loss: float | None
    val_acc: float
    val_loss: float
    seconds: float
    val_images: int | None = None


def highest_epoch(rows: Sequence[EpochRow]) -> EpochRow:
    """Returns the epoch with the highest validation accuracy; of several, the one with the lowest validation loss.

    If these are equal as well, the first one is returned.

    Args:
        rows: Scores of the epochs, in order; at least one.
    """
    return max(rows, key=lambda row: (row.val_acc, -row.val_loss))


def best_epoch(rows: Sequence[EpochRow]) -> EpochRow:
    """Returns the epoch whose weights a fine-tuning keeps: the last one that is as good as the highest, within sampling error.

    The highest of many accuracies on few images is partly luck, and a learning rate that decreases to 0 makes later epochs
    better. So an epoch counts as good as the one with the highest validation accuracy p if it is lower by at most one standard
    error of the difference of two accuracies, sqrt(2 p (1 - p) / images). The one-standard-error rule for the choice between
    models (Breiman et al. 1984, "Classification and Regression Trees", section 3.4.3) takes the standard error of one.

    Args:
        rows: Scores of the epochs, in order; at least one. Where they have no number of images, `highest_epoch` is returned.
    """
    highest = highest_epoch(rows)
    if highest.val_images is None:
        return highest
    margin = math.sqrt(2 * highest.val_acc * (1 - highest.val_acc) / highest.val_images)
    return next(row for row in reversed(rows) if row.val_acc >= highest.val_acc - margin)


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
        test_acc: Accuracy of the trained network on the test part, in [0, 1]; None until it is measured, or without one.
        test_scores: Scores on the test part of a network that is no classifier, by name; empty until they are measured.
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
    test_scores: dict[str, float] = {}
    notes: list[str] = []
    published: str | None = None
    error: str | None = None


class JobStatus(JobSummary):
    """The state of one run of a job and its result, with its trials and epochs.

    Attributes, besides those of `JobSummary`:
        history: All trials, ordered by number.
        pareto: Numbers of the trials on the Pareto front.
        refusals: What each constraint of the search refused, in the order of the constraints; empty without constraints.
        closest: Trial that violates the constraints least; None if an arch met them, or there are no trials.
        compared: The winner, the further members of the Pareto front and the baselines; empty if the job asks for neither.
        oneshot: Progress of a one-shot strategy; None for jobs without one.
        epochs: Scores of the epochs of a fine-tuning so far; empty for searches.
        times: Estimated and measured durations of the parts of the job so far.
        accuracy: Detailed accuracy of the trained network on the test part; None until it is measured, or if there is none.
    """

    history: list[TrialRow] = []
    pareto: list[int] = []
    refusals: list[RefusalRow] = []
    closest: Closest | None = None
    compared: list[ComparedRow] = []
    oneshot: OneShotView | None = None
    epochs: list[EpochRow] = []
    times: list[PartTime] = []
    accuracy: AccuracyReport | None = None
