"""What an experiment asks of a one-shot strategy, and of the evaluator that such a strategy trains with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hubserve.errors import ExperimentError
from hubserve.space import ModelSpace
from hubserve.strategy import OneShotResult
from hubserve.training.evaluator import Evaluator, TrainingEvaluator


@runtime_checkable
class OneShot(Protocol):
    """A one-shot strategy as an experiment calls it; `hubserve.strategy.OneShotStrategy` is one."""

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
        """Trains shared weights, or continues from the checkpoint in `folder`; see `OneShotStrategy.run`."""
        ...


def training_evaluator(evaluator: Evaluator) -> TrainingEvaluator:
    """`evaluator` itself, checked to be one that shared weights can be trained with.

    Raises:
        ExperimentError: It has no training data and loss.
    """
    if not isinstance(evaluator, TrainingEvaluator):
        raise ExperimentError(
            f"a one-shot strategy trains shared weights, and {type(evaluator).__name__} does not say how; use Classification, "
            "Regression or another TrainingEvaluator"
        )
    return evaluator
