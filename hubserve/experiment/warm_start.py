"""Adds the complete trials of earlier studies to a new one, so that its strategy begins with what they found."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna import Study
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from hubserve.atomic import staged_file
from hubserve.errors import ArchError, ExperimentError, SpaceError
from hubserve.experiment.changed_choices import changed_choice
from hubserve.experiment.constraints import constraint_attributes
from hubserve.experiment.settings import ExperimentSettings
from hubserve.experiment.storage import open_storage
from hubserve.experiment.study import PURPOSE, STUDY_FILE, describe_space, same_space
from hubserve.experiment.trial_record import EARLIER, SCORES, SECONDS, SPENT_SECONDS, flat_scores
from hubserve.space import ModelSpace
from hubserve.strategy import trial_arch
from hubserve.strategy.trial_params import categories, distribution
from hubserve.training.evaluator import Objective
from hubserve.training.trial_weights import WEIGHTS_FILE

WARM_STARTED = "warm_started"
"""User attribute of a study to which all trials of the earlier ones were added: a sentence for each of them."""

EarlierStudy = str | Path | Study
"""An earlier study: its file, or the folder of its experiment or job, or its URL; or the Optuna study itself."""


def open_earlier(source: EarlierStudy) -> tuple[Study, Path | None]:
    """Returns an earlier study, and the folder with the folders of its trials; None if that is not known.

    Args:
        source: The study, or a file, folder or URL that holds one study of an experiment.

    Raises:
        ExperimentError: There is no such file, it cannot be opened, it has no study of an experiment, or it has several.
    """
    if isinstance(source, Study):
        return source, None
    place, folder = _place(source)
    storage = open_storage(place)
    found = [study.study_name for study in storage.get_all_studies() if PURPOSE in study.user_attrs]
    if len(found) != 1:
        raise ExperimentError(
            f"{source} has {'no study that an experiment made' if not found else f'the studies {found}'}: give the file of one "
            "experiment, or optuna.load_study(...)"
        )
    return optuna.load_study(study_name=found[0], storage=storage, sampler=RandomSampler()), folder


def _place(source: str | Path) -> tuple[str | Path, Path | None]:
    """Returns the file or URL of a study, and the folder of its trials, which is None for a URL.

    Raises:
        ExperimentError: There is no such file, or the folder has no study.
    """
    if "://" in str(source):
        return str(source), None
    path = Path(source).expanduser()
    if path.is_dir():
        inside = [path / STUDY_FILE, path / "search" / STUDY_FILE]
        found = next((file for file in inside if file.is_file()), None)
        if found is None:
            raise ExperimentError(f"{path} has no {STUDY_FILE}; give the folder of an experiment or of a search job")
        path = found
    if not path.is_file():
        raise ExperimentError(f"there is no study {path}; give the file {STUDY_FILE} of an experiment, or its folder")
    return path, path.parent / "trials"


def check_earlier(study: Study, space: ModelSpace, objectives: Sequence[Objective]) -> None:
    """Checks that an earlier study searched `space`, and in the same directions.

    Raises:
        ExperimentError: It was not made by an experiment, searched another space or one with other settings or choices, or
            improved a score in the other direction.
    """
    begun: dict[str, Any] | None = study.user_attrs.get(PURPOSE)
    if begun is None:
        raise ExperimentError(f"{study.study_name} was not made by an experiment of hubserve, so its space is not known")
    if not same_space(begun["space"], space):
        raise ExperimentError(f"{study.study_name} searched another space: {_difference(begun['space'], space)}")
    changed = changed_choice(study.get_trials(deepcopy=False), space)
    if changed is not None:
        raise ExperimentError(f"{study.study_name} searched another space: {changed}")
    directions = dict(begun["objectives"])
    for objective in objectives:
        direction = directions.get(objective.name, objective.direction)
        if direction != objective.direction:
            raise ExperimentError(
                f"{study.study_name} has the objective {objective.name} = {direction}, and here it is {objective.direction}"
            )


def _difference(begun: dict[str, Any], space: ModelSpace) -> str:
    now = describe_space(space)
    if begun["name"] != now["name"]:
        return f"{begun['name']}, and this one is {now['name']}"
    names = sorted({*begun["settings"], *now["settings"]})
    there, here = begun["settings"], now["settings"]
    return f"{now['name']} with " + ", ".join(
        f"{name} = {there.get(name, 'unset')} there and {here.get(name, 'unset')} here"
        for name in names
        if there.get(name) != here.get(name)
    )


def check_warm_start(settings: ExperimentSettings) -> None:
    """Checks the earlier studies of `settings`, so that a wrong one is refused before a study is created.

    Raises:
        ExperimentError: One cannot be opened, or is not one of the same space.
    """
    for source in settings.warm_start:
        check_earlier(open_earlier(source)[0], settings.model_space, settings.objectives)


def add_earlier_trials(study: Study, settings: ExperimentSettings) -> None:
    """Adds the complete trials of the earlier studies of `settings` to a study, unless that was done before.

    Trials that violate a constraint of `settings` are left out. Kept weights are copied. What a killed process has added is
    not added again. The caller must hold the experiment's lock.

    Raises:
        ExperimentError: An earlier study is not one of the same space with the same scores, or the study has trials of its own.
    """
    if not settings.warm_start or WARM_STARTED in study.user_attrs:
        return
    trials = study.get_trials(deepcopy=False)
    if any(EARLIER not in trial.user_attrs for trial in trials):
        raise ExperimentError(f"warm_start: {study.study_name} was begun without it and has trials; choose another name")
    there = {tuple(trial.user_attrs[EARLIER]) for trial in trials}
    notes = [_add(source, study, settings, there) for source in settings.warm_start]
    study.set_user_attr(WARM_STARTED, notes)


def _add(source: EarlierStudy, study: Study, settings: ExperimentSettings, there: set[tuple[Any, ...]]) -> str:
    """Adds the trials of one earlier study; returns a sentence about how many were added and left out."""
    earlier, folder = open_earlier(source)
    check_earlier(earlier, settings.model_space, settings.objectives)
    complete = earlier.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    added = refused = 0
    for trial in complete:
        if (earlier.study_name, trial.number) in there:
            added += 1
            continue
        made = _trial(trial, earlier, settings)
        if made is None:
            refused += 1
            continue
        # With the experiment's lock held, this is the number that the trial gets.
        number = len(study.get_trials(deepcopy=False))
        _copy_weights(folder, trial.number, settings.trial_folder(number))
        study.add_trial(made)
        added += 1
    left_out = f", {refused} that violate a constraint were left out" if refused else ""
    return f"{added} of {len(complete)} complete trials of {earlier.study_name} were added{left_out}"


def _trial(trial: FrozenTrial, earlier: Study, settings: ExperimentSettings) -> FrozenTrial | None:
    """Returns the trial to add, with the measures that it lacks; None if its arch violates a constraint.

    Raises:
        ExperimentError: The trial has no arch of the space, or lacks the score of an objective that is no measure.
    """
    space = settings.model_space
    arch = trial_arch(trial, space)
    try:
        space.validate(arch)
    except (ArchError, SpaceError) as error:
        raise ExperimentError(f"trial {trial.number} of {earlier.study_name} has no arch of the space: {error}") from error
    names = [objective[0] for objective in earlier.user_attrs[PURPOSE]["objectives"]]
    scores = dict(zip(names, trial.values, strict=True)) | trial.user_attrs.get(SCORES, {})
    wanted = {constraint.measure for constraint in settings.constraints} | {each.name for each in settings.objectives}
    if not wanted <= scores.keys():
        scores = settings.feasibility_check.check(arch).measures | scores
    if any(constraint.measure in scores and constraint.miss(scores[constraint.measure]) for constraint in settings.constraints):
        return None
    missing = [objective.name for objective in settings.objectives if objective.name not in scores]
    if missing:
        raise ExperimentError(
            f"trial {trial.number} of {earlier.study_name} has no score {missing[0]!r}, only {', '.join(sorted(scores))}"
        )
    return create_trial(
        state=TrialState.COMPLETE,
        params=categories(arch, space),
        distributions={label: distribution(space.choices[label]) for label in arch},
        values=[scores[objective.name] for objective in settings.objectives],
        intermediate_values=dict(trial.intermediate_values),
        system_attrs=constraint_attributes(settings.constraints, scores),
        user_attrs={
            **flat_scores(scores, settings.objectives),
            SCORES: scores,
            EARLIER: [earlier.study_name, trial.number],
            SPENT_SECONDS: 0.0,
            SECONDS: trial.user_attrs.get(SECONDS, 0.0),
        },
    )


def _copy_weights(trials: Path | None, number: int, folder: Path) -> None:
    """Copies the weights that an earlier trial has kept, if it has, to the folder of the new trial."""
    weights = None if trials is None else trials / f"{number:06d}" / WEIGHTS_FILE
    if weights is None or not weights.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with staged_file(folder / WEIGHTS_FILE) as unfinished:
        shutil.copyfile(weights, unfinished)
