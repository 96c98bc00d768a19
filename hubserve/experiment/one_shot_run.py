"""One-shot strategies in an experiment: they train shared weights, and end in an arch or in a supernet to be searched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from optuna import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from hubserve.errors import ExperimentError
from hubserve.experiment.constraints import Screen
from hubserve.experiment.trial_record import INFEASIBLE, REASON, SCORES
from hubserve.space import Arch, ModelSpace
from hubserve.strategy.trial_params import categories, distribution
from hubserve.supernet import Supernet
from hubserve.training.evaluator import Evaluator, Objective, TrainingEvaluator, Trial


class OneShotResult(Protocol):
    """What such a strategy ends in; see `hubserve.strategy.oneshot`."""

    @property
    def arch(self) -> Arch | None:
        """The arch; None where the supernet must be searched yet."""
        ...

    @property
    def supernet(self) -> Supernet | None:
        """With the trained weights."""
        ...

    @property
    def history(self) -> tuple[dict[str, Any], ...]:
        """A row for each step."""
        ...

    @property
    def stopped(self) -> bool:
        """Whether it was stopped before its time."""
        ...

    @property
    def cost_r2(self) -> float | None:
        """How good the table of costs is that its penalty goes by; None without one."""
        ...


@runtime_checkable
class OneShot(Protocol):
    """What an experiment asks of a one-shot strategy."""

    def run(
        self,
        space: ModelSpace,
        evaluator: TrainingEvaluator,
        *,
        seed: int,
        folder: Path | None,
        on_step: Callable[[dict[str, Any]], None] | None,
        should_stop: Callable[[], bool] | None,
    ) -> OneShotResult:
        """Trains, or goes on in `folder`."""
        ...


def training_evaluator(evaluator: Evaluator) -> TrainingEvaluator:
    """`evaluator` itself.

    Raises:
        ExperimentError: it has no training data to train shared weights on.
    """
    if not isinstance(evaluator, TrainingEvaluator):
        raise ExperimentError(
            f"a one-shot strategy trains shared weights, and {type(evaluator).__name__} does not say how; use Classification, "
            "Regression or another TrainingEvaluator"
        )
    return evaluator


def add_found(
    study: Study,
    space: ModelSpace,
    arch: Arch,
    evaluator: Evaluator,
    screen: Screen,
    objectives: tuple[Objective, ...],
    trial: Trial,
) -> FrozenTrial:
    """Scores the arch that a strategy ended in and adds it to the study as a trial, infeasible where it misses a constraint."""
    judged = screen.judge(arch)
    scores: dict[str, float] = {} if judged.misses else judged.measures | evaluator.evaluate(space, arch, trial)
    notes = {INFEASIBLE: judged.misses, REASON: judged.reason} if judged.misses else {SCORES: scores}
    study.add_trial(
        create_trial(
            state=TrialState.PRUNED if judged.misses else TrialState.COMPLETE,
            params=categories(arch, space),
            distributions={label: distribution(space.choices[label]) for label in arch},
            values=None if judged.misses else [scores[objective.name] for objective in objectives],
            user_attrs=notes,
        )
    )
    return study.get_trials(deepcopy=False)[-1]
