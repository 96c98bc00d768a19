"""`ExperimentSettings`, the arguments of an experiment, which are checked before it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from optuna.pruners import BasePruner, NopPruner
from optuna.storages import BaseStorage, InMemoryStorage

from hubserve.errors import ExperimentError
from hubserve.experiment.constraints import MEASURES, ComplexityMeasure, Constraint, FeasibilityCheck, InputShape, Measure
from hubserve.experiment.executors import Executor
from hubserve.hub.hub_space import HubSpace
from hubserve.space import ModelSpace
from hubserve.strategy import OneShotStrategy, Strategy
from hubserve.training.evaluator import Evaluator, Objective, TrainingEvaluator


@dataclass(frozen=True, kw_only=True)
class ExperimentSettings:
    """The arguments of `NasExperiment`, with default values filled in; those not listed here are documented there.

    Attributes:
        strategy: The strategy of the experiment; an Optuna sampler that was given is wrapped in one.
        sampler: The strategy that proposes archs: `strategy` itself or, after a one-shot strategy, the one that searches its
            supernet.
        searches_supernet: True if `sampler` searches the supernet of a one-shot strategy.
        seed: Seed of the random numbers of evaluations; once the study is open, the seed of the experiment's first run.

    Raises:
        ExperimentError: A setting is out of its range, or two settings cannot be combined.
    """

    model_space: ModelSpace
    evaluator: Evaluator
    strategy: Strategy | OneShotStrategy
    sampler: Strategy
    searches_supernet: bool
    name: str
    folder: Path
    storage: BaseStorage | str | Path | None
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    measures: Mapping[str, Measure]
    input_shape: InputShape | None
    pruner: BasePruner
    repeat: bool
    seed: int
    keep_weights: int
    on_step: Callable[[dict[str, Any]], None] | None

    def __post_init__(self) -> None:
        if not isinstance(self.strategy, (Strategy, OneShotStrategy)):
            raise ExperimentError(
                f"strategy = {self.strategy!r} is neither of hubserve.strategy nor a sampler of Optuna; give Random(), say"
            )
        if not isinstance(self.strategy, Strategy):
            training_evaluator(self.evaluator)
        elif self.searches_supernet:
            raise ExperimentError("search_strategy follows a one-shot strategy; with another one, leave it out")
        if self.keep_weights < 1:
            raise ExperimentError(f"keep_weights = {self.keep_weights} must be at least 1")
        if not self.objectives:
            raise ExperimentError("objectives is empty; an experiment improves at least one number")
        self.feasibility_check  # noqa: B018 - raises where a constraint cannot be measured

    @cached_property
    def feasibility_check(self) -> FeasibilityCheck:
        """The check that measures archs before they are evaluated and compares the measures with the constraints."""
        wanted = [objective.name for objective in self.objectives if objective.name in (*MEASURES, *self.measures)]
        if not wanted and not self.constraints:
            return FeasibilityCheck(self.model_space, (), (), {})
        sizes = ComplexityMeasure(self._shape())
        return FeasibilityCheck(self.model_space, self.constraints, wanted, {"params": sizes, "macs": sizes, **self.measures})

    def _shape(self) -> InputShape:
        if self.input_shape is not None:
            return self.input_shape
        if isinstance(self.model_space, HubSpace):
            return (3, self.model_space.input_size, self.model_space.input_size)
        raise ExperimentError(
            f"constraints and measured objectives need the shape of an input image, which {type(self.model_space).__name__} "
            "does not have: give input_shape=(channels, height, width)"
        )

    def trial_folder(self, number: int) -> Path:
        """Returns the folder for the files of trial number `number`; it may not exist yet."""
        return self.folder / "trials" / f"{number:06d}"

    def check_executor(self, executor: Executor, storage: BaseStorage) -> None:
        """Checks that trials that run on `executor` can do what the settings ask for.

        Raises:
            ExperimentError: `executor` runs trials in other processes, and these would need a supernet of this process, or
                would have to report intermediate values to a `storage` in memory.
        """
        if executor.shares_memory:
            return
        if not isinstance(self.strategy, Strategy):
            raise ExperimentError("a supernet is trained, and searched, in this process; leave executor out")
        if isinstance(storage, InMemoryStorage) and not isinstance(self.pruner, NopPruner):
            raise ExperimentError("trials in other processes cannot report into a study in memory; give storage a file or URL")


def training_evaluator(evaluator: Evaluator) -> TrainingEvaluator:
    """Returns `evaluator` after checking that it can train shared weights.

    Raises:
        ExperimentError: It is not a TrainingEvaluator, i.e. has no training data and loss.
    """
    if not isinstance(evaluator, TrainingEvaluator):
        raise ExperimentError(
            f"a one-shot strategy trains shared weights, and {type(evaluator).__name__} does not say how; use Classification, "
            "Regression or another TrainingEvaluator"
        )
    return evaluator
