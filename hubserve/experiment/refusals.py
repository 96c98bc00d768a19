"""Sums up the infeasible trials of a study: how many archs each constraint refused, by how much, and which came closest."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from hubserve.experiment.constraints import Constraint
from hubserve.experiment.trial_record import INFEASIBLE, REASON, SCORES, is_trial


@dataclass(frozen=True)
class Refusals:
    """The archs that one constraint refused.

    Attributes:
        constraint: The constraint as text, such as "params <= 40000".
        refused: Number of trials whose arch violates the constraint. A trial that violates several constraints is counted at
            each of them.
        checked: Number of trials whose arch was compared with the constraint. It may be smaller than the number of all trials,
            because measures after the first violated constraint are not taken, and failed and running trials are not counted.
        least: Smallest relative violation (`Constraint.miss`), above 0; None if nothing was refused.
        median: Median of the relative violations; None if nothing was refused.
        most: Largest relative violation; None if nothing was refused.
    """

    constraint: str
    refused: int
    checked: int
    least: float | None
    median: float | None
    most: float | None

    def __str__(self) -> str:
        if self.least is None:
            return f"{self.constraint} refused none of {self.checked}"
        return f"{self.constraint} refused {self.refused} of {self.checked}, by {self.least:.1%} to {self.most:.1%}"


def refusals(study: Study, constraints: Sequence[Constraint]) -> tuple[Refusals, ...]:
    """Returns, for each of `constraints` in their order, how many archs of the study's trials it refused and by how much."""
    trials = _trials(study)
    return tuple(_of(constraint, trials) for constraint in constraints)


def closest_infeasible(study: Study) -> FrozenTrial | None:
    """Returns the trial whose largest relative violation is the smallest, if all trials of the study are infeasible.

    Returns None if one of them is not, be it complete, pruned, failed or running, or if there are no trials. Only the
    violations that were found are compared: measures after the first violated constraint were not taken.
    """
    trials = _trials(study)
    if any(INFEASIBLE not in trial.user_attrs for trial in trials):
        return None
    return min(trials, key=lambda trial: max(trial.user_attrs[INFEASIBLE].values()), default=None)


def closest_to_feasible(study: Study, constraints: Sequence[Constraint]) -> str:
    """Returns a sentence about the trial that violates the constraints least, if all trials are infeasible.

    The sentence also says what each constraint refused. It is empty if there are no trials, or one of them is not infeasible.
    """
    closest = closest_infeasible(study)
    if closest is None:
        return ""
    measured = closest.user_attrs.get(SCORES)
    unknown = [str(each) for each in constraints if measured is not None and each.measure not in measured]
    sentence = f"no arch met the constraints. The closest is that of trial {closest.number}: {closest.user_attrs[REASON]}"
    if unknown:
        sentence += f" ({', '.join(unknown)} was not measured)"
    return f"{sentence}. Of all, {'; '.join(map(str, refusals(study, constraints)))}"


def _trials(study: Study) -> list[FrozenTrial]:
    return [trial for trial in study.get_trials(deepcopy=False) if is_trial(trial)]


def _of(constraint: Constraint, trials: Sequence[FrozenTrial]) -> Refusals:
    text = str(constraint)
    misses: list[float] = []
    checked = 0
    for trial in trials:
        found = trial.user_attrs.get(INFEASIBLE)
        if found is None:
            checked += trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
            continue
        checked += text in found or constraint.measure in trial.user_attrs.get(SCORES, {})
        if text in found:
            misses.append(float(found[text]))
    if not misses:
        return Refusals(text, 0, checked, None, None, None)
    return Refusals(text, len(misses), checked, min(misses), statistics.median(misses), max(misses))
