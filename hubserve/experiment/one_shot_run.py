"""Runs a one-shot strategy in an experiment: trains a supernet, then stores the arch it found or searches the supernet."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from hubserve.errors import ExperimentError
from hubserve.experiment.search_loop import SearchInputs, search
from hubserve.experiment.settings import training_evaluator
from hubserve.experiment.time_spent import supernet_clock
from hubserve.experiment.trial_record import INFEASIBLE, REASON, SCORES
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
    """
    settings = inputs.settings

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
    """Stores the arch found by a one-shot strategy as the study's only trial or, if it found none, searches its supernet.

    Without a search strategy in the settings, the supernet is not searched.

    Returns:
        A sentence that says why the experiment ended.

    Raises:
        ExperimentError: The result has no supernet, which is needed to score archs.
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
        if not inputs.study.get_trials(deepcopy=False):
            inputs.on_end(_add_trial(replace(inputs, evaluator=evaluator), result.arch))
        return f"{strategy} trained its epochs and ended in one arch"
    if not settings.searches_supernet:
        return "the supernet is trained; give search_strategy to search it, or hand one_shot.supernet to another search"
    return search(replace(inputs, evaluator=evaluator))


def _add_trial(inputs: SearchInputs, arch: Arch) -> FrozenTrial:
    """Scores `arch`, adds it to the study and returns the trial; an arch that violates a constraint is added as infeasible."""
    settings, study = inputs.settings, inputs.study
    space = settings.model_space
    found = settings.feasibility_check.check(arch)
    scores: dict[str, float] = {}
    if not found.misses:
        trial = Trial(0, settings.seed, settings.trial_folder(0), settings.name)
        scores = found.measures | inputs.evaluator.evaluate(space, arch, trial)
    study.add_trial(
        create_trial(
            state=TrialState.PRUNED if found.misses else TrialState.COMPLETE,
            params=categories(arch, space),
            distributions={label: distribution(space.choices[label]) for label in arch},
            values=None if found.misses else [scores[objective.name] for objective in settings.objectives],
            user_attrs={INFEASIBLE: found.misses, REASON: found.reason} if found.misses else {SCORES: scores},
        )
    )
    return study.get_trials(deepcopy=False)[-1]
