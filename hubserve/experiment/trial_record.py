"""`TrialRecord`, the record of one trial of an experiment, and the names of the user attributes stored with a trial."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from hubserve.space import Arch, ModelSpace
from hubserve.strategy import trial_arch
from hubserve.training.evaluator import Objective

State = Literal["complete", "failed", "pruned", "infeasible", "running"]

SCORES = "scores"
"""User attribute of a trial: all its scores by name; set only if there are scores besides the objectives."""

REASON = "reason"
"""User attribute of a trial: text that says why it failed, was pruned or is infeasible."""

INFEASIBLE = "infeasible"
"""User attribute of an infeasible trial: relative violation (`Constraint.miss`) of each violated constraint by its text."""

ATTEMPTS = "attempts"
"""User attribute of a trial: number of times that it was begun; set only if that is more than once."""

SECONDS = "seconds"
"""User attribute of a trial that has ended: its duration in seconds, by a clock that nobody sets."""

SPENT_SECONDS = "spent_seconds"
"""User attribute of a trial that has ended: seconds, before its end, that the search spent and no earlier end had counted."""

EXHAUSTED = "exhausted"
"""User attribute that marks a trial for which the strategy had no arch left to propose."""


@dataclass(frozen=True)
class TrialRecord:
    """One trial of an experiment.

    Attributes:
        number: Number of the trial in its study, from 0.
        state: "complete" has scores; "failed" raised an error; "pruned" was ended early because of its intermediate values;
            "infeasible" violates a constraint and was not evaluated; "running" has not ended.
        arch: The arch of the trial, its labels in the order of the space.
        scores: Scores by name: the objectives, and other scores and measures; empty unless the trial is complete.
        intermediate: Intermediate values of the first objective by step, as the evaluation reported them.
        reason: Says why the trial failed, was pruned or is infeasible; empty otherwise.
        started: Local time at which the trial began, without a time zone; None if it has not begun.
        seconds: Duration in seconds; None while the trial is running.
        folder: Folder of the trial's files, such as trained weights; it may not exist.
    """

    number: int
    state: State
    arch: Arch
    scores: dict[str, float]
    intermediate: dict[int, float]
    reason: str
    started: datetime | None
    seconds: float | None
    folder: Path


def is_trial(trial: FrozenTrial) -> bool:
    """Returns False for a stored trial for which the strategy had no arch left to propose, else True."""
    return EXHAUSTED not in trial.user_attrs


def was_evaluated(trial: FrozenTrial) -> bool:
    """Returns whether `trial` counts towards `max_trials`: it has ended, has an arch, and was not infeasible."""
    return trial.state.is_finished() and is_trial(trial) and INFEASIBLE not in trial.user_attrs


def record_of(trial: FrozenTrial, space: ModelSpace, objectives: Sequence[Objective], folder: Path) -> TrialRecord:
    """Returns the `TrialRecord` of a trial stored in a study."""
    notes: dict[str, Any] = trial.user_attrs
    complete = trial.state is TrialState.COMPLETE
    scores = {o.name: value for o, value in zip(objectives, trial.values, strict=True)} if complete else {}
    return TrialRecord(
        number=trial.number,
        state="infeasible" if INFEASIBLE in notes else _STATES[trial.state],
        arch=trial_arch(trial, space),
        scores=scores | notes.get(SCORES, {}),
        intermediate=dict(trial.intermediate_values),
        reason=notes.get(REASON, ""),
        started=trial.datetime_start,
        seconds=_seconds(trial),
        folder=folder,
    )


def _seconds(trial: FrozenTrial) -> float | None:
    if trial.duration is None:
        return None
    # By the clock only trials of earlier versions; below 0 where it was set back meanwhile.
    return float(trial.user_attrs.get(SECONDS, max(0.0, trial.duration.total_seconds())))


_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.FAIL: "failed",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "running",
}


def closest_to_feasible(study: Study) -> str:
    """Returns a sentence about the trial that violates the constraints least, if all trials are infeasible.

    Returns an empty string if there are no trials or one of them is not infeasible.
    """
    trials = [trial for trial in study.get_trials(deepcopy=False) if is_trial(trial)]
    infeasible = [trial for trial in trials if INFEASIBLE in trial.user_attrs]
    if not infeasible or len(infeasible) < len(trials):
        return ""
    closest = min(infeasible, key=lambda trial: max(trial.user_attrs[INFEASIBLE].values()))
    return (
        f"no arch met the constraints. The closest of {len(infeasible)} is that of trial {closest.number}: "
        f"{closest.user_attrs[REASON]}"
    )
