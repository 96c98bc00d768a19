"""What an experiment tells about its trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from hubserve.space import Arch, ModelSpace
from hubserve.strategy import trial_arch
from hubserve.training.evaluator import Objective

State = Literal["complete", "failed", "pruned", "infeasible", "running"]

SCORES, REASON, INFEASIBLE, ATTEMPTS, EXHAUSTED = "scores", "reason", "infeasible", "attempts", "exhausted"
"""Keys of what is noted beside a trial in its study: all scores where they are more than the objectives, why it failed, by
which share each constraint is missed, how often it was begun, and that the strategy had nothing to propose."""


@dataclass(frozen=True)
class TrialRecord:
    """One trial of an experiment.

    Attributes:
        number: in the study, from 0.
        state: how it ended: "infeasible" was not evaluated, for it misses a constraint; "pruned" was ended early.
        arch: canonical.
        scores: by name: the objectives and what else the evaluator and the constraints told; empty where it did not end well.
        intermediate: step -> value of the first objective.
        reason: why it failed, was pruned or is infeasible; empty otherwise.
        started: when.
        seconds: that it took; None while it runs.
        folder: of its files, such as trained weights; it need not exist.
    """

    number: int
    state: State
    arch: Arch
    scores: dict[str, float]
    intermediate: dict[int, float]
    reason: str
    started: datetime | None
    seconds: float | None
    folder: Path | None


def is_trial(trial: FrozenTrial) -> bool:
    """Whether it tries an arch: one that a strategy had nothing to propose for does not."""
    return EXHAUSTED not in trial.user_attrs


def was_evaluated(trial: FrozenTrial) -> bool:
    """Whether it counts towards a budget of trials: it ended, and not before it began."""
    return trial.state.is_finished() and is_trial(trial) and INFEASIBLE not in trial.user_attrs


def record_of(trial: FrozenTrial, space: ModelSpace, objectives: Sequence[Objective], folder: Path | None) -> TrialRecord:
    """The record of a stored trial."""
    notes: dict[str, Any] = trial.user_attrs
    scores = {o.name: value for o, value in zip(objectives, trial.values, strict=True)} if _complete(trial) else {}
    duration = trial.duration
    return TrialRecord(
        number=trial.number,
        state=_state(trial),
        arch=trial_arch(trial, space),
        scores=scores | notes.get(SCORES, {}),
        intermediate=dict(trial.intermediate_values),
        reason=notes.get(REASON, ""),
        started=trial.datetime_start,
        seconds=None if duration is None else duration.total_seconds(),
        folder=folder,
    )


def _complete(trial: FrozenTrial) -> bool:
    return trial.state is TrialState.COMPLETE


def _state(trial: FrozenTrial) -> State:
    if INFEASIBLE in trial.user_attrs:
        return "infeasible"
    names: dict[TrialState, State] = {
        TrialState.COMPLETE: "complete",
        TrialState.FAIL: "failed",
        TrialState.PRUNED: "pruned",
        TrialState.RUNNING: "running",
        TrialState.WAITING: "running",
    }
    return names[trial.state]
