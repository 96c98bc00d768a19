"""What a job says of itself while it runs and afterwards: the record in status.json, and in the service's answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

State = Literal["queued", "running", "stopping", "done", "failed", "stopped"]
Phase = Literal["search", "supernet", "retrain", "export", "profile", "publish"]
FINAL: frozenset[State] = frozenset({"done", "failed", "stopped"})
"""States in which no process works for the job."""


class _Record(BaseModel):
    # Not "forbid": a service of an older version still reads what a newer job writes.
    model_config = ConfigDict(frozen=True, extra="ignore")


class ObjectiveInfo(_Record):
    """One number that the search improves.

    Attributes:
        name: as in the scores.
        direction: whether larger or smaller is better.
    """

    name: str
    direction: Literal["maximize", "minimize"]


class TrialRow(_Record):
    """One trial of the search.

    Attributes:
        number: in the study, from 0.
        values: scores by name, objectives and costs; without the objectives where the trial did not end well.
        state: how it ended; "infeasible" was not trained, for it misses a constraint.
        seconds: that it took.
        reason: why it failed, was pruned or is infeasible; empty otherwise.
    """

    number: int
    values: dict[str, float]
    state: Literal["complete", "failed", "pruned", "infeasible", "running"]
    seconds: float | None = None
    reason: str = ""


class Best(_Record):
    """The best trial so far; with several objectives, the one that the job would publish now.

    Attributes:
        number: of the trial; None where a one-shot strategy ended in the arch without trials.
        values: all its scores, by name.
        arch: label -> value.
    """

    number: int | None
    values: dict[str, float]
    arch: dict[str, Any]


class LabelProbabilities(_Record):
    """How likely a one-shot strategy takes each candidate of one choice, over time.

    Attributes:
        candidates: their names.
        probabilities: one row for each of `OneShotView.steps`, one column a candidate.
    """

    candidates: list[str]
    probabilities: list[list[float]]


class OneShotView(_Record):
    """The course of a one-shot strategy.

    Attributes:
        steps: optimizer steps at which the rest was noted.
        loss: of training, at those steps; None where it was not noted.
        labels: for strategies that learn probabilities; empty for others.
        cost_r2: share of the variance of costs that the penalty's table explains; None without such a table, and until the end.
    """

    steps: list[int] = []
    loss: list[float | None] = []
    labels: dict[str, LabelProbabilities] = {}
    cost_r2: float | None = None


class JobStatus(_Record):
    """See the module.

    Attributes:
        id: name of the run folder.
        name: of the job.
        state: "queued" until its process begins; "stopping" while a stop is under way.
        phase: what it is at, or was at when it ended.
        message: one sentence for people.
        created: when it was submitted.
        updated: when this record was written.
        trials: finished, whether well or not.
        max_trials: the budget; None where only time limits the search.
        seconds: spent so far, all runs of the job together.
        eta_seconds: that the present phase takes still, estimated; None where nobody knows.
        objectives: the first one first.
        best: None until a trial meets all constraints.
        history: one row a trial, in the order of their numbers.
        pareto: numbers of the trials that no other beats in every objective.
        oneshot: for jobs with a one-shot strategy.
        plots: names of the pictures in plots/, without ".svg".
        published: tag in the store, once there.
        error: what went wrong, and how to go on; None unless "failed" or "stopped".
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
    history: list[TrialRow] = []
    pareto: list[int] = []
    oneshot: OneShotView | None = None
    plots: list[str] = []
    published: str | None = None
    error: str | None = None
