"""Error of a network that is trained to predict numbers."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from hubserve.data.loaders import Data, DataModule
from hubserve.errors import EvaluatorError
from hubserve.training.evaluator import Objective
from hubserve.training.optimizers_and_schedules import MakeOptimizer, MakeSchedule
from hubserve.training.supervised import Criterion, SupervisedEvaluator


class Regression(SupervisedEvaluator):
    """Trains a network to predict numbers and scores its mean squared error on the validation data: `val_mse`.

    A smaller one is better, and a search minimises it (NNI maximises whatever it is told, and exports the worst network).
    For a network that gives (batch, 1) the targets may be (batch,).

    Args:
        criterion: class or instance of a loss.
        learning_rate: of the optimizer, before its schedule.
        weight_decay: of the optimizer.
        optimizer: see Classification.
        train_dataloaders: a torch data set or DataLoader of (input, target).
        val_dataloaders: likewise.
        datamodule: gives both instead.
        export_onnx: must stay False; `hubserve export` exports.
        batch_size: where a data set is given.
        schedule: see Classification.
        warm_up: see Classification.
        ema_decay: see Classification.
        auxiliary_weight: see Classification.
        drop_path_prob: see Classification.
        trainer_kwargs: see TrainerSettings.

    Raises:
        EvaluatorError: an argument is unknown or has a value that is not allowed.
    """

    objectives = (Objective("val_mse", "minimize"),)
    score_name: ClassVar[str] = "val_mse"

    def __init__(
        self,
        criterion: type[nn.Module] | Criterion = nn.MSELoss,
        learning_rate: float = 0.001,
        weight_decay: float = 0.0,
        optimizer: str | MakeOptimizer = torch.optim.Adam,
        train_dataloaders: Data = None,
        val_dataloaders: Data = None,
        datamodule: DataModule | None = None,
        export_onnx: bool = False,
        *,
        batch_size: int = 64,
        schedule: str | MakeSchedule | None = None,
        warm_up: float = 0.0,
        ema_decay: float | None = None,
        auxiliary_weight: float = 0.4,
        drop_path_prob: float = 0.0,
        **trainer_kwargs: Any,
    ) -> None:
        super().__init__(
            criterion,
            learning_rate,
            weight_decay,
            optimizer,
            train_dataloaders,
            val_dataloaders,
            datamodule,
            export_onnx,
            batch_size=batch_size,
            schedule=schedule,
            warm_up=warm_up,
            ema_decay=ema_decay,
            auxiliary_weight=auxiliary_weight,
            drop_path_prob=drop_path_prob,
            trainer_kwargs=trainer_kwargs,
        )

    def loss(self, output: Any, target: Any) -> torch.Tensor:
        if isinstance(output, tuple):
            return super().loss(tuple(_like(part, target) for part in output), target)
        return super().loss(_like(output, target), target)

    def score(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (_like(output, target) - target).square().reshape(len(target), -1).mean(1)


def _like(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """`output` in the shape of `target`: broadcasting (batch, 1) against (batch,) would compare all with all."""
    if output.shape == target.shape:
        return output
    if output.shape == (*target.shape, 1):
        return output.squeeze(-1)
    raise EvaluatorError(f"the network gives the shape {tuple(output.shape)} and the targets have {tuple(target.shape)}")
