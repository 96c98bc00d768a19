"""Ranks the trials of a study, and returns the archs or networks of the best ones."""

from collections.abc import Container, Iterable, Sequence
from typing import Any, Literal, get_args

import torch
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from hubserve.errors import ExperimentError
from hubserve.experiment.trial_record import TrialRecord
from hubserve.hub.pretrained import load_weights
from hubserve.similar_names import suggest
from hubserve.space import ModelSpace
from hubserve.strategy import trial_arch
from hubserve.training.trial_weights import WEIGHTS_FILE

Formatter = Literal["dict", "instance"]


def best_first(trials: Iterable[FrozenTrial], space: ModelSpace, *, sign: int, front: Container[int] = ()) -> list[FrozenTrial]:
    """Returns the best trial of each arch, the best arch first.

    Args:
        trials: Complete trials.
        space: The space of their archs.
        sign: 1 if a larger first objective is better, -1 if a smaller one is.
        front: Numbers of the trials on the Pareto front, which come before the others.
    """
    ordered = sorted(trials, key=lambda trial: (trial.number not in front, -sign * trial.values[0], trial.number))
    best: dict[str, FrozenTrial] = {}
    for trial in ordered:
        best.setdefault(repr(trial_arch(trial, space)), trial)
    return list(best.values())


def ranked(study: Study, space: ModelSpace) -> list[FrozenTrial]:
    """Returns the best complete trial of each arch of a study, the best first.

    With several objectives, trials on the Pareto front come first; within each part the first objective decides.
    """
    front = {trial.number for trial in study.best_trials} if len(study.directions) > 1 else ()
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return best_first(complete, space, sign=1 if study.directions[0].name == "MAXIMIZE" else -1, front=front)


def top_models(space: ModelSpace, records: Sequence[TrialRecord], formatter: Formatter) -> list[Any]:
    """Returns the archs of `records` ("dict"), or their networks ("instance"); see `NasExperiment.export_top_models`.

    Raises:
        ExperimentError: `formatter` has another value.
    """
    if formatter == "dict":
        return [record.arch for record in records]
    if formatter == "instance":
        return [_network(space, record) for record in records]
    known = get_args(Formatter)
    raise ExperimentError(f"formatter = {formatter!r} is not one of {known}. {suggest(str(formatter), known)}")


def _network(space: ModelSpace, record: TrialRecord) -> torch.nn.Module:
    weights = record.folder / WEIGHTS_FILE
    if weights.is_file():
        return load_weights(space, record.arch, weights)
    return space.freeze(record.arch).eval()
