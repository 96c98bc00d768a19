"""`ExperimentSettings`, the arguments of an experiment, which are checked before it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from optuna import Study
from optuna.pruners import BasePruner, NopPruner
from optuna.storages import BaseStorage, InMemoryStorage

from hubserve.errors import ExperimentError
from hubserve.experiment.constraints import MEASURES, ComplexityMeasure, Constraint, FeasibilityCheck, InputShape, Measure
from hubserve.experiment.executors import ClusterExecutor, Executor, described
from hubserve.experiment.storage import file_of
from hubserve.experiment.time_limit import check_main_thread
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
        ExperimentError: A setting is out of its range, two settings cannot be combined, or a constraint or an objective is a
            measure that has no function, or that needs an `input_shape` which is not known.
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
    max_trial_seconds: float | None = None
    warm_start: tuple[str | Path | Study, ...] = ()

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
        if self.max_trial_seconds is not None and not self.max_trial_seconds > 0:
            raise ExperimentError(f"max_trial_seconds = {self.max_trial_seconds} must be above 0; None sets no limit")
        if self.warm_start and not isinstance(self.strategy, Strategy):
            raise ExperimentError("warm_start: trials of a supernet have scores of its weights, which no earlier trial has")
        if not self.objectives:
            raise ExperimentError("objectives is empty; an experiment improves at least one number")
        if len(self.objectives) > 1 and self.sampler.one_objective:
            raise ExperimentError(
                f"objectives: {', '.join(each.name for each in self.objectives)}: {type(self.sampler).__name__} improves one; "
                "choose NSGA2 or another strategy for several, or keep one and hold the others under constraints"
            )
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
            return self.model_space.cost_inputs()
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
                would have to report intermediate values to a `storage` in memory, or on other machines to a file that these do
                not have. Or it runs trials in this process, they have a time limit, and this is not the main thread.
        """
        if executor.shares_memory:
            if self.max_trial_seconds is not None:
                check_main_thread()
            return
        if not isinstance(self.strategy, Strategy):
            raise ExperimentError("a supernet is trained, and searched, in this process; leave executor out")
        if isinstance(storage, InMemoryStorage) and not isinstance(self.pruner, NopPruner):
            raise ExperimentError("trials in other processes cannot report into a study in memory; give storage a file or URL")
        if isinstance(executor, ClusterExecutor) and executor.other_machines and not isinstance(self.pruner, NopPruner):
            self._check_reports(executor, storage)

    def _check_reports(self, executor: ClusterExecutor, storage: BaseStorage) -> None:
        """Raises ExperimentError if a machine lacks the file of `storage`, into which trials with a pruner report.

        Nothing is checked for several objectives, which are not pruned, or for a storage that is no file.
        """
        file = file_of(storage)
        if len(self.objectives) > 1 or file is None:
            return
        if missing := executor.machines_without([file]):
            raise ExperimentError(
                f"{described(missing)}: trials with a pruner report into that file while they run. Give storage a URL that all "
                "machines reach, such as postgresql://..., put the folder on a file system that they share, or use no pruner"
            )


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
