"""`TrialRecord`, the record of one trial of an experiment, and the names of the user attributes stored with a trial."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from hubserve.space import Arch, ModelSpace
from hubserve.strategy import trial_arch
from hubserve.training.evaluator import Objective

State = Literal["complete", "failed", "pruned", "infeasible", "running"]

SCORES = "scores"
"""User attribute of a trial: all its scores by name, set only if there are scores besides the objectives.

Of an infeasible trial, it holds the measures that were taken. Each of these numbers is also a user attribute of its own, see
`flat_scores`."""

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

EARLIER = "earlier"
"""User attribute of a trial that was added from an earlier study: the name of that study, and the trial's number in it."""

EXHAUSTED = "exhausted"
"""User attribute that marks a trial for which the strategy had no arch left to propose."""


EPOCHS = "supernet_epochs"
"""User attribute of a trial that a one-shot strategy ended in, and of a study whose trials share the weights of a supernet: the
number of epochs for which the supernet was trained."""

RESERVED = frozenset((SCORES, REASON, INFEASIBLE, ATTEMPTS, SECONDS, SPENT_SECONDS, EARLIER, EXHAUSTED, EPOCHS))
"""Names of the user attributes above, which no score may have as a user attribute of its own."""


@dataclass(frozen=True)
class TrialRecord:
    """One trial of an experiment.

    Attributes:
        number: Number of the trial in its study, from 0.
        state: "complete" has scores; "failed" has none, because of an error, the time limit, a process that died, or a missing
            score; "pruned" was ended early because of its intermediate values; "infeasible" violates a constraint and was not
            evaluated; "running" has not ended.
        arch: The arch of the trial, its labels in the order of the space.
        scores: Scores by name: of a complete trial the objectives, and other scores and measures; of an infeasible trial the
            measures that were taken; else empty.
        intermediate: Intermediate values of the first objective by step, as the evaluation reported them.
        reason: Says why the trial failed, was pruned or is infeasible; empty otherwise.
        started: Local time at which the trial began, without a time zone; None if it has not begun.
        seconds: Duration in seconds; None while the trial is running.
        folder: Folder of the trial's files, such as trained weights; it may not exist.
        earlier: Name of the earlier study from which the trial was added, and the trial's number in it; None for a trial of
            this study.
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
    earlier: tuple[str, int] | None = None


def flat_scores(
    scores: Mapping[str, float], objectives: Sequence[Objective], *, measures: Sequence[str] = ()
) -> dict[str, float]:
    """Returns the numbers that are stored as user attributes of a trial by their own names, such as "params" or "latency_ms".

    Optuna's dashboard and plots show user attributes. Left out are objectives that were not measured, which are the values of
    the trial, and names in `RESERVED`, which are only in the attribute `SCORES`.

    Args:
        scores: Scores and measures by name.
        objectives: The objectives of the search.
        measures: Names of `scores` that were measured, which are stored even if they are objectives.
    """
    left_out = {objective.name for objective in objectives}.difference(measures) | RESERVED
    return {name: value for name, value in scores.items() if name not in left_out}


def missing_objective(scores: Mapping[str, float], objectives: Sequence[Objective]) -> str:
    """Returns a sentence that names the first objective that `scores` lack, or that is NaN; empty if there is none."""
    for objective in objectives:
        value = scores.get(objective.name)
        if value is None:
            return f"the evaluator gave {sorted(scores)} and not the objective {objective.name!r}"
        if value != value:
            return f"the evaluator gave {objective.name} = nan"
    return ""


def is_trial(trial: FrozenTrial) -> bool:
    """Returns False for a stored trial for which the strategy had no arch left to propose, else True."""
    return EXHAUSTED not in trial.user_attrs


def was_evaluated(trial: FrozenTrial) -> bool:
    """Returns whether `trial` counts towards `max_trials`.

    It has ended, has an arch, was not infeasible, and was not added from an earlier study.
    """
    notes = trial.user_attrs
    return trial.state.is_finished() and is_trial(trial) and INFEASIBLE not in notes and EARLIER not in notes


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
        earlier=(notes[EARLIER][0], notes[EARLIER][1]) if EARLIER in notes else None,
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
