"""The best trials of a study, and their networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from hubserve.errors import ExperimentError, suggest
from hubserve.experiment.trial_record import TrialRecord
from hubserve.hub.load import load_weights
from hubserve.space import ModelSpace
from hubserve.strategy import trial_arch
from hubserve.training.weights_file import WEIGHTS_FILE

Formatter = Literal["dict", "instance"]


def ranked(study: Study, space: ModelSpace) -> list[FrozenTrial]:
    """Complete trials, the best first, one for each arch: its best, where it was tried several times."""
    sign = -1 if study.directions[0].name == "MAXIMIZE" else 1
    front = {trial.number for trial in study.best_trials} if len(study.directions) > 1 else set()
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    ordered = sorted(complete, key=lambda trial: (trial.number not in front, sign * trial.values[0], trial.number))
    best: dict[str, FrozenTrial] = {}
    for trial in ordered:
        best.setdefault(repr(trial_arch(trial, space)), trial)
    return list(best.values())


def drop_weights(study: Study, space: ModelSpace, trials: Path, keep: int) -> None:
    """Deletes the weights of finished trials that are not among the best.

    Args:
        study: of the trials.
        space: of their archs.
        trials: folder with a folder for each, named by its number.
        keep: trials whose weights stay; those of a Pareto front stay all.
    """
    there = {int(path.parent.name): path for path in trials.glob(f"*/{WEIGHTS_FILE}")}
    if len(there) <= keep:
        return
    best = {trial.number for trial in (*ranked(study, space)[:keep], *study.best_trials)}
    for trial in study.get_trials(deepcopy=False):
        if trial.number in there and trial.number not in best and trial.state.is_finished():
            there[trial.number].unlink(missing_ok=True)


def top_models(space: ModelSpace, records: Sequence[TrialRecord], formatter: Formatter) -> list[Any]:
    """The archs of `records`, or their networks; see `NasExperiment.export_top_models`."""
    if formatter == "dict":
        return [record.arch for record in records]
    if formatter == "instance":
        return [_network(space, record) for record in records]
    known = get_args(Formatter)
    raise ExperimentError(f"formatter = {formatter!r} is not one of {known}. {suggest(str(formatter), known)}")


def _network(space: ModelSpace, record: TrialRecord) -> torch.nn.Module:
    weights = record.folder / WEIGHTS_FILE if record.folder is not None else None
    if weights is not None and weights.is_file():
        return load_weights(space, record.arch, weights)
    return space.freeze(record.arch).eval()
