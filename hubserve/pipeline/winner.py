"""The arch that a search ends in: chosen among those that meet the constraints, measured again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from hubserve.errors import NothingFeasibleError
from hubserve.experiment import NasExperiment, TrialRecord
from hubserve.latency.arch_latency import CHOICE_SECONDS, NAME, sure_median
from hubserve.pipeline.resolve import Parts
from hubserve.strategy.oneshot.extraction import BEFORE, extract
from hubserve.training.weights_file import WEIGHTS_FILE

MOST_CANDIDATES = 20
"""Best trials that are measured again until one still meets the latency."""


class Winner(BaseModel):
    """What is retrained, exported and published.

    Attributes:
        number: of its trial.
        arch: label -> value.
        scores: by name, on the validation part.
        weights: file of those that the search left; None where there are none.
        kind: whose they are: trained in its trial, or cut from the supernet of a one-shot strategy.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    arch: dict[str, Any]
    scores: dict[str, float]
    weights: Path | None
    kind: Literal["trial", "shared"] = "trial"


def choose(experiment: NasExperiment, parts: Parts) -> Winner:
    """The best trial that meets all constraints; latency is measured again, longer than during the search.

    Raises:
        NothingFeasibleError: there is none; tells which constraint is missed, and by how much.
    """
    candidates = experiment.top_trials(MOST_CANDIDATES)
    if not candidates:
        raise NothingFeasibleError(_nothing(experiment))
    limit = parts.limits.get(NAME)
    found: dict[int, float] = {}
    for trial in candidates:
        latency = None if limit is None else found.setdefault(trial.number, measured_again(parts, trial.arch))
        if limit is None or latency is None or latency <= limit:
            measured = {} if latency is None else {NAME: latency}
            return _winner(parts, trial, measured | _before(experiment, parts, trial))
    nearest = min(found, key=lambda number: found[number])
    raise NothingFeasibleError(
        f"of {len(found)} candidates none meets latency_ms <= {limit:g} when measured again; the nearest, trial {nearest}, "
        f"takes {found[nearest]:.3g} ms. A quieter machine, a larger limit or more trials may help; nothing was published"
    )


def measured_again(parts: Parts, arch: Mapping[str, Any]) -> float:
    """Latency of an arch in ms, as `MeasuredLatency` tells it, for some seconds."""
    return sure_median(parts.latency(CHOICE_SECONDS).measure(parts.space, dict(arch)))


def _before(experiment: NasExperiment, parts: Parts, trial: TrialRecord) -> dict[str, float]:
    """For shared weights, the score with the statistics that all networks had: what measuring them anew is worth."""
    supernet = None if experiment.one_shot is None else experiment.one_shot.supernet
    name = parts.objectives[0].name
    if supernet is None or f"{name} {BEFORE}" in trial.scores:
        return {}
    found = extract(supernet, trial.arch, parts.evaluator(parts.job.recipe), seed=parts.job.seed, compare=True)
    return found.score_before(name)


def _winner(parts: Parts, trial: TrialRecord, measured: Mapping[str, float]) -> Winner:
    weights = None if trial.folder is None else trial.folder / WEIGHTS_FILE
    kept = weights if weights is not None and weights.is_file() else None
    kind: Literal["trial", "shared"] = "shared" if parts.searchers.shares_weights else "trial"
    return Winner(number=trial.number, arch=trial.arch, scores={**trial.scores, **measured}, weights=kept, kind=kind)


def _nothing(experiment: NasExperiment) -> str:
    """Why no trial has a score: which constraint the nearest arch misses and by how much, or what the last one failed of."""
    failed = [trial.reason for trial in experiment.trials if trial.state == "failed"]
    last = f"; the last trial that failed: {failed[-1]}" if failed else ""
    return (
        f"no trial ended with a score: {experiment.stop_reason}{last}. Allow more, search longer, or choose other settings of "
        "the space; nothing was published"
    )
