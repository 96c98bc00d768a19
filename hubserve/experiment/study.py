"""The Optuna study of an experiment: made or opened, and held to what it was made for."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna import Study
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from hubserve.errors import ExperimentError
from hubserve.experiment.storage import open_storage
from hubserve.experiment.trial_record import ATTEMPTS, is_trial
from hubserve.space import ModelSpace
from hubserve.strategy import Strategy
from hubserve.training.evaluator import Objective

PURPOSE = "hubserve"
"""Key of what is noted beside a study."""

SUPERNET_SECONDS = "supernet_seconds"
"""Key of how long a supernet was trained."""

NOTE_SECONDS = 10.0
"""Between two notes of it."""

MOST_ATTEMPTS = 3
"""Times that a trial is begun; one that takes the process down each time is given up."""


def storage_of(storage: BaseStorage | str | Path | None, folder: Path | None) -> BaseStorage:
    """The storage that is meant; by default a journal file in the experiment's folder."""
    if isinstance(storage, BaseStorage):
        return storage
    if storage is None:
        return optuna.storages.InMemoryStorage() if folder is None else open_storage(folder / "study.journal")
    return open_storage(storage)


def exists(name: str, storage: BaseStorage) -> bool:
    """Whether the storage has a study of that name."""
    return any(study.study_name == name for study in storage.get_all_studies())


def open_study(
    name: str,
    storage: BaseStorage,
    *,
    space: ModelSpace,
    objectives: Sequence[Objective],
    strategy: Strategy,
    pruner: BasePruner,
    seed: int,
) -> tuple[Study, int]:
    """The study and the experiment's seed, which is that of its beginning.

    Raises:
        ExperimentError: the study is there and is about another space or other objectives, or is not of an experiment.
    """
    purpose = {
        "space": describe_space(space),
        "objectives": [[objective.name, objective.direction] for objective in objectives],
    }
    if not exists(name, storage):
        directions = [objective.direction for objective in objectives]
        study = optuna.create_study(study_name=name, storage=storage, sampler=strategy, pruner=pruner, directions=directions)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([objective.name for objective in objectives])
        study.set_user_attr(PURPOSE, purpose | {"seed": seed, "strategy_seed": strategy.seed})
        return study, seed
    study = optuna.load_study(study_name=name, storage=storage, sampler=strategy, pruner=pruner)
    begun = _same_purpose(study, purpose)
    # A strategy that was given no seed drew one; that of the beginning counts.
    strategy.seed = begun["strategy_seed"]
    return study, int(begun["seed"])


def _same_purpose(study: Study, purpose: dict[str, Any]) -> dict[str, Any]:
    """What was noted when the study was begun."""
    begun: dict[str, Any] | None = study.user_attrs.get(PURPOSE)
    if begun is None:
        raise ExperimentError(f"the study {study.study_name!r} was not made by an experiment; choose another name")
    for key, wanted in purpose.items():
        if begun[key] != wanted:
            raise ExperimentError(
                f"the experiment {study.study_name!r} was begun with {key} = {begun[key]} and is now given {wanted}; choose "
                "another name"
            )
    return begun


def unfinished(study: Study) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
    """Trials that a process which is gone left running: those to begin anew, and those that were begun too often.

    The caller holds the experiment's lock, so nobody else runs them.
    """
    running = [trial for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)) if is_trial(trial)]
    given_up = [trial for trial in running if trial.user_attrs.get(ATTEMPTS, 1) >= MOST_ATTEMPTS]
    return [trial for trial in running if trial not in given_up], given_up


class SupernetClock:
    """Notes beside the study how long a supernet was trained, so that a killed run's time is not forgotten."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._before = float(study.user_attrs.get(SUPERNET_SECONDS, 0.0))
        self._began = self._noted = time.monotonic()

    def __enter__(self) -> SupernetClock:
        return self

    def __exit__(self, *error: object) -> None:
        self._note()

    def tick(self) -> None:
        """Training goes on; noted now and then."""
        if time.monotonic() - self._noted >= NOTE_SECONDS:
            self._note()

    def _note(self) -> None:
        self._noted = time.monotonic()
        self._study.set_user_attr(SUPERNET_SECONDS, self._before + self._noted - self._began)


def seconds_spent(study: Study) -> float:
    """Time over all runs of the experiment in which at least one finished trial was being evaluated, or a supernet trained."""
    spans = sorted(
        (trial.datetime_start, trial.datetime_complete)
        for trial in study.get_trials(deepcopy=False)
        if trial.datetime_start is not None and trial.datetime_complete is not None and ATTEMPTS not in trial.user_attrs
    )
    total, until = float(study.user_attrs.get(SUPERNET_SECONDS, 0.0)), datetime.min
    for start, end in spans:
        if end > until:
            total += (end - max(start, until)).total_seconds()
            until = end
    return total


def describe_space(space: ModelSpace) -> dict[str, Any]:
    """Its class and settings, as plain data."""
    names: list[str] = [field.name for field in fields(space)] if is_dataclass(space) else []
    settings = {name: repr(getattr(space, name)) for name in names}
    return {"name": type(space).__name__, "settings": settings}
