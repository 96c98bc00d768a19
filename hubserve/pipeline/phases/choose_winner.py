"""`choose_winner`: selects the best trial of a search that meets all constraints, after measuring its latency again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from hubserve.errors import NothingFeasibleError
from hubserve.experiment import NasExperiment, TrialRecord
from hubserve.latency.arch_latency import CHOICE_SECONDS, NAME, sure_median
from hubserve.pipeline.resolved_search import ResolvedSearch
from hubserve.strategy.oneshot.extract_subnet import BEFORE, extract
from hubserve.training.evaluator import TrainingEvaluator
from hubserve.training.trial_weights import WEIGHTS_FILE

MOST_CANDIDATES = 20
"""Largest number of trials, the best first, whose latency is measured again until one meets the limit."""


class Winner(BaseModel):
    """The trial that is trained, exported and published.

    Attributes:
        number: Number of the trial in the study; None for an arch that was made by hand.
        arch: Chosen value of each choice by label.
        scores: Scores on the validation part, and measures such as latency, by name.
        weights: File with the weights that the search saved for this trial; None if it saved none.
        kind: Origin of the weights: "trial" if they were trained in the trial, "shared" if they come from a supernet.
    """

    model_config = ConfigDict(frozen=True)

    number: int | None
    arch: dict[str, Any]
    scores: dict[str, float]
    weights: Path | None
    kind: Literal["trial", "shared"] = "trial"


def choose_winner(experiment: NasExperiment, resolved: ResolvedSearch) -> Winner:
    """Returns the best trial that meets all constraints.

    If latency is constrained, the best trials, at most `MOST_CANDIDATES`, are measured again, for longer than during the
    search, until one meets it.

    Raises:
        NothingFeasibleError: No trial ended with a score, or none of those that were measured again meets the limit; the
            message says why, and what may help.
    """
    candidates = experiment.top_trials(MOST_CANDIDATES)
    if not candidates:
        raise NothingFeasibleError(_no_candidates_text(experiment))
    limit = resolved.job.limits.get(NAME)
    if limit is None:
        return _winner(experiment, resolved, candidates[0], {})
    found: dict[int, float] = {}
    for trial in candidates:
        latency = found[trial.number] = measure_again(resolved, trial.arch)
        if latency <= limit:
            return _winner(experiment, resolved, trial, {NAME: latency})
    nearest = min(found, key=lambda number: found[number])
    raise NothingFeasibleError(
        f"of {len(found)} candidates none meets latency_ms <= {limit:g} when measured again; the nearest, trial {nearest}, "
        f"takes {found[nearest]:.3g} ms. A quieter machine, a larger limit or more trials may help; nothing was published"
    )


def measure_again(resolved: ResolvedSearch, arch: Mapping[str, Any]) -> float:
    """Measures the latency of an arch for up to `CHOICE_SECONDS` and returns it in milliseconds."""
    return sure_median(resolved.latency(CHOICE_SECONDS).measure(resolved.space, dict(arch)))


def _score_before_recalibration(experiment: NasExperiment, resolved: ResolvedSearch, trial: TrialRecord) -> dict[str, float]:
    """Returns the score of shared weights before BatchNorm recalibration by its name.

    It is empty if the trial has weights of its own, if its scores have that one already, or if the evaluator does not train.
    """
    supernet = None if experiment.one_shot is None else experiment.one_shot.supernet
    name = resolved.objectives[0].name
    evaluator = resolved.search_evaluator
    if supernet is None or f"{name} {BEFORE}" in trial.scores or not isinstance(evaluator, TrainingEvaluator):
        return {}
    found = extract(supernet, trial.arch, evaluator, seed=resolved.job.seed, compare=True)
    return found.score_before(name)


def _winner(experiment: NasExperiment, resolved: ResolvedSearch, trial: TrialRecord, measured: Mapping[str, float]) -> Winner:
    return winner_of(resolved, trial, {**measured, **_score_before_recalibration(experiment, resolved, trial)})


def winner_of(resolved: ResolvedSearch, trial: TrialRecord, measured: Mapping[str, float]) -> Winner:
    """Returns the record of a trial that is trained and exported, with its scores and those that were `measured` again."""
    weights = None if trial.folder is None else trial.folder / WEIGHTS_FILE
    return Winner(
        number=trial.number,
        arch=trial.arch,
        scores={**trial.scores, **measured},
        weights=weights if weights is not None and weights.is_file() else None,
        kind="shared" if resolved.searchers.shares_weights else "trial",
    )


def _no_candidates_text(experiment: NasExperiment) -> str:
    """Returns the error message for a search without a scored trial, with the stop reason, the last failure and what to do."""
    failed = [trial.reason for trial in experiment.trials if trial.state == "failed"]
    states = {trial.state for trial in experiment.trials}
    last = f"; {len(failed)} trials failed, the last one: {failed[-1]}" if failed else ""
    advice = []
    if failed:
        advice.append("correct what the failure says; a longer search would fail in the same way")
    if "infeasible" in states:
        advice.append("allow more under constraints, or choose other settings of the space")
    if states <= {"running", "pruned"}:
        advice.append("search longer")
    return f"no trial ended with a score: {experiment.stop_reason}{last}. Nothing was published: {'; or '.join(advice)}"
