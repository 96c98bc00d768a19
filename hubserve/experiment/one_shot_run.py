"""Runs a one-shot strategy in an experiment: trains a supernet, then stores the arch it found or searches the supernet."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from hubserve.errors import ExperimentError
from hubserve.experiment.constraints import constraint_attributes
from hubserve.experiment.search_loop import SearchInputs, search
from hubserve.experiment.settings import training_evaluator
from hubserve.experiment.time_spent import supernet_clock
from hubserve.experiment.trial_record import EARLIER, EPOCHS, INFEASIBLE, REASON, SCORES, flat_scores, missing_objective
from hubserve.space import Arch
from hubserve.strategy import OneShotResult, OneShotStrategy, SupernetEvaluator
from hubserve.strategy.trial_params import categories, distribution
from hubserve.training.evaluator import Trial


def train_supernet(strategy: OneShotStrategy, inputs: SearchInputs, show: Callable[[dict[str, Any]], None]) -> OneShotResult:
    """Trains the supernet, continuing from its checkpoint if there is one, and returns the result.

    The training time is stored in the study.

    Args:
        strategy: The one-shot strategy.
        inputs: The arguments of this run of the experiment.
        show: Called with the row of the history after each step, before `on_step` of the settings.

    Raises:
        ExperimentError: The supernet is to be searched, and the study has trials that were scored with the weights of another
            number of epochs. Or the evaluator cannot train.
    """
    settings = inputs.settings
    _refuse_mixed_scores(inputs)

    def stepped(row: dict[str, Any]) -> None:
        tick()
        show(row)
        if settings.on_step is not None:
            settings.on_step(row)

    with supernet_clock(inputs.study) as tick:
        return strategy.run(
            settings.model_space,
            training_evaluator(settings.evaluator),
            seed=settings.seed,
            folder=settings.folder / "supernet",
            on_step=stepped,
            should_stop=lambda: bool(inputs.stop_reason),
        )


def use_supernet(result: OneShotResult, inputs: SearchInputs) -> str:
    """Scores and stores the arch found by a one-shot strategy as a trial or, if it found none, searches its supernet.

    Nothing is done if the training was stopped. The arch is stored once for each number of epochs: if the strategy trained more
    epochs than in an earlier run, it is a further trial. Without a search strategy in the settings, the supernet is not
    searched.

    Returns:
        A sentence that says why the experiment ended.

    Raises:
        ExperimentError: The result has no supernet, which is needed to score archs, the evaluator gave no number for an
            objective, or `search` raises it.
    """
    settings, strategy = inputs.settings, type(inputs.settings.strategy).__name__
    if result.stopped:
        return inputs.stop_reason or "the training of the supernet was stopped"
    if result.supernet is None:
        raise ExperimentError(f"{strategy} kept no weights to score archs with")
    # One arch is also scored before its batch norms are recalibrated; in a search all archs are scored the same way.
    evaluator = SupernetEvaluator(
        result.supernet, training_evaluator(settings.evaluator), seed=settings.seed, compare=result.arch is not None
    )
    if result.arch is not None:
        if not _is_stored(result.arch, inputs):
            inputs.on_end(_add_trial(replace(inputs, evaluator=evaluator), result.arch))
        return f"{strategy} trained its epochs and ended in one arch"
    if not settings.searches_supernet:
        return "the supernet is trained; give search_strategy to search it, or hand one_shot.supernet to another search"
    inputs.study.set_user_attr(EPOCHS, training_evaluator(settings.evaluator).max_epochs)
    return search(replace(inputs, evaluator=evaluator))


def _refuse_mixed_scores(inputs: SearchInputs) -> None:
    """Raises ExperimentError if a supernet is to be searched whose trials were scored after another number of epochs."""
    epochs, known = training_evaluator(inputs.settings.evaluator).max_epochs, inputs.study.user_attrs.get(EPOCHS)
    trials = _own_trials(inputs)
    if inputs.settings.searches_supernet and trials and known not in (None, epochs):
        raise ExperimentError(
            f"{len(trials)} trials were scored with a supernet that trained for {known} epochs, and max_epochs is {epochs}: "
            "scores with other weights cannot be compared. To train it further, call strategy.run with folder = "
            f"{str(inputs.settings.folder / 'supernet')!r} and seed = {inputs.settings.seed}, and search its supernet with "
            "SupernetEvaluator in an experiment of another name"
        )


def _own_trials(inputs: SearchInputs) -> list[FrozenTrial]:
    """Returns the trials of the study except those that were added from an earlier study."""
    return [trial for trial in inputs.study.get_trials(deepcopy=False) if EARLIER not in trial.user_attrs]


def _is_stored(arch: Arch, inputs: SearchInputs) -> bool:
    """Returns whether the study has a trial of what the strategy found in as many epochs as it trained now.

    Trials of earlier versions do not say their epochs: the last one is then compared with `arch`.
    """
    trials, epochs = _own_trials(inputs), training_evaluator(inputs.settings.evaluator).max_epochs
    if trials and EPOCHS not in trials[-1].user_attrs:  # Stored by an earlier version.
        return categories(arch, inputs.settings.model_space) == trials[-1].params
    return any(trial.user_attrs.get(EPOCHS) == epochs for trial in trials)


def _add_trial(inputs: SearchInputs, arch: Arch) -> FrozenTrial:
    """Scores `arch`, adds it to the study and returns the trial; an arch that violates a constraint is added as infeasible.

    Raises:
        ExperimentError: The evaluator gave no number for an objective.
    """
    settings, study = inputs.settings, inputs.study
    space = settings.model_space
    found = settings.feasibility_check.check(arch)
    scores: dict[str, float] = {}
    if not found.misses:
        number = len(study.get_trials(deepcopy=False))
        trial = Trial(number, settings.seed, settings.trial_folder(number), settings.name)
        scores = found.measures | inputs.evaluator.evaluate(space, arch, trial)
        if reason := missing_objective(scores, settings.objectives):
            raise ExperimentError(
                f"{reason}. The trained weights are kept in {str(settings.folder / 'supernet')!r}: an experiment of another "
                "name with the same folder and seed, and objectives that the evaluator gives, goes on from there"
            )
    study.add_trial(
        create_trial(
            state=TrialState.PRUNED if found.misses else TrialState.COMPLETE,
            params=categories(arch, space),
            distributions={label: distribution(space.choices[label]) for label in arch},
            values=None if found.misses else [scores[objective.name] for objective in settings.objectives],
            system_attrs=constraint_attributes(settings.constraints, found.measures),
            user_attrs={
                **flat_scores(found.measures | scores, settings.objectives, measures=tuple(found.measures)),
                EPOCHS: training_evaluator(settings.evaluator).max_epochs,
                **(
                    {INFEASIBLE: found.misses, REASON: found.reason, SCORES: found.measures}
                    if found.misses
                    else {SCORES: scores}
                ),
            },
        )
    )
    return study.get_trials(deepcopy=False)[-1]
