"""Creates the Optuna study of an experiment, or opens it and checks that it belongs to the same search."""

import warnings
from dataclasses import fields, is_dataclass
from typing import Any

import optuna
from optuna import Study
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from hubserve.errors import ExperimentError
from hubserve.experiment.changed_choices import changed_choice
from hubserve.experiment.settings import ExperimentSettings
from hubserve.experiment.storage import open_storage
from hubserve.experiment.trial_record import ATTEMPTS, is_trial
from hubserve.space import ModelSpace

STUDY_FILE = "study.journal"
"""Name of the file of a study in the folder of its experiment."""

PURPOSE = "hubserve"
"""User attribute of a study: its space, its objectives, and the seeds of its first run."""

MOST_ATTEMPTS = 3
"""Largest number of times that a trial is begun; if its process was killed each time, the trial fails."""


def storage_of(settings: ExperimentSettings) -> BaseStorage:
    """Returns the storage for the study: `settings.storage`, which is opened if it is a path or a URL.

    If it is None, the storage is the file study.journal in the experiment's folder. The folder is created in any case.

    Raises:
        ExperimentError: `settings.storage` is a path or URL that `open_storage` refuses.
        OSError: The folder cannot be created, or the journal file cannot be opened.
    """
    settings.folder.mkdir(parents=True, exist_ok=True)
    if isinstance(settings.storage, BaseStorage):
        return settings.storage
    return open_storage(settings.folder / STUDY_FILE if settings.storage is None else settings.storage)


def exists(name: str, storage: BaseStorage) -> bool:
    """Returns whether `storage` has a study called `name`."""
    return any(study.study_name == name for study in storage.get_all_studies())


def open_study(settings: ExperimentSettings) -> tuple[Study, int]:
    """Creates or opens the study of an experiment; returns it with the seed of the experiment's first run.

    Also sets the seed of the strategy (`settings.sampler`) to its seed in the first run.

    Raises:
        ExperimentError: The study exists and has another space or other objectives, or was not created by an experiment; or
            the space has other choices than when the trials were stored; or `settings.storage` cannot be opened.
    """
    purpose = {
        "space": describe_space(settings.model_space),
        "objectives": [[objective.name, objective.direction] for objective in settings.objectives],
    }
    storage, sampler = storage_of(settings), settings.sampler
    if not exists(settings.name, storage):
        study = optuna.create_study(
            study_name=settings.name,
            storage=storage,
            sampler=sampler,
            pruner=settings.pruner,
            directions=[objective.direction for objective in settings.objectives],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([objective.name for objective in settings.objectives])
        study.set_user_attr(PURPOSE, purpose | {"seed": settings.seed, "strategy_seed": sampler.seed})
        return study, settings.seed
    study = optuna.load_study(study_name=settings.name, storage=storage, sampler=sampler, pruner=settings.pruner)
    begun = _same_purpose(study, purpose, settings.model_space)
    # A strategy without a seed drew one in each process; the one that the study was begun with counts.
    sampler.seed = begun["strategy_seed"]
    return study, int(begun["seed"])


def _same_purpose(study: Study, purpose: dict[str, Any], space: ModelSpace) -> dict[str, Any]:
    """Returns the `PURPOSE` attribute that the study was created with, after checking that it agrees with `purpose`.

    Raises:
        ExperimentError: It differs, the study was not created by an experiment, or choices of the space were changed.
    """
    begun: dict[str, Any] | None = study.user_attrs.get(PURPOSE)
    if begun is None:
        raise ExperimentError(f"the study {study.study_name!r} was not made by an experiment; choose another name")
    for key, wanted in purpose.items():
        if begun[key] != wanted and not (key == "space" and same_space(begun[key], space)):
            raise ExperimentError(
                f"the experiment {study.study_name!r} was begun with {key} = {begun[key]} and is now given {wanted}; choose "
                "another name"
            )
    changed = changed_choice(study.get_trials(deepcopy=False), space)
    if changed is not None:
        raise ExperimentError(
            f"the experiment {study.study_name!r} has trials of other choices than {type(space).__name__} has now: {changed}; "
            "choose another name, or restore the choices"
        )
    return begun


def interrupted_trials(study: Study) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
    """Returns (trials to begin again, trials that were begun too often) of those that a killed process left running.

    The caller must hold the experiment's lock, so that no other process is running them.
    """
    running = [trial for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)) if is_trial(trial)]
    again = [trial for trial in running if trial.user_attrs.get(ATTEMPTS, 1) < MOST_ATTEMPTS]
    return again, [trial for trial in running if trial.user_attrs.get(ATTEMPTS, 1) >= MOST_ATTEMPTS]


def same_space(begun: dict[str, Any], space: ModelSpace) -> bool:
    """Returns whether `begun`, the description of a space in a study, describes `space`.

    It may lack settings that were added to the class since, if these have their defaults.
    """
    now = describe_space(space)
    known = {name: value for name, value in now["settings"].items() if name in begun["settings"]}
    if begun != {"name": now["name"], "settings": known}:
        return False
    return space == type(space)(**{name: getattr(space, name) for name in known})


def describe_space(space: ModelSpace) -> dict[str, Any]:
    """Returns the class name and the settings of `space` as a dict of strings, for comparison with a stored one."""
    names: list[str] = [field.name for field in fields(space)] if is_dataclass(space) else []
    return {"name": type(space).__name__, "settings": {name: repr(getattr(space, name)) for name in names}}
