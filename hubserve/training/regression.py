"""`Regression`: the evaluator that trains a network to predict numbers and scores its mean squared error."""

from typing import Any, ClassVar, Unpack

import torch
from torch import nn

from hubserve.data.loaders import Data, DataModule, data_of
from hubserve.errors import EvaluatorError
from hubserve.training.evaluator import Objective
from hubserve.training.optimizers_and_schedules import MakeOptimizer
from hubserve.training.settings import Criterion, TrainerArguments, TrainingSettings, known_settings
from hubserve.training.supervised import SupervisedEvaluator


class Regression(SupervisedEvaluator):
    """Trains a network to predict numbers and scores its mean squared error on the validation data: `val_mse`.

    A smaller error is better, so a search minimises it (NNI maximises every score, and exports the worst network). Where the
    output of the network is (batch, 1), the targets may be (batch,).

    Args:
        criterion: Class or instance of a loss, or a function from (output, targets) to a scalar tensor.
        learning_rate: Learning rate of the optimizer before its schedule, at least 0.
        weight_decay: Weight decay of the optimizer, at least 0.
        optimizer: Class of torch.optim, a functools.partial of one, or "adam", "adamw", "rmsprop", or "sgd" (with Nesterov
            momentum 0.9).
        train_dataloaders: Torch data set or DataLoader of (input, target); None where nothing is trained.
        val_dataloaders: Torch data set or DataLoader of the same for validation; None where nothing is validated.
        datamodule: Object that gives both data sets in their place, such as a data module of Lightning or the result of
            `hubserve.evaluator.load_dataset`.
        export_onnx: Must stay False; `hubserve export` exports a model.
        **more_settings: Settings of the training, from `batch_size`, `schedule`, `warm_up`, `ema_decay` and `drop_path_prob` to
            those of Lightning's trainer, such as `max_epochs`, `limit_train_batches`, `gradient_clip_val`, `accelerator`,
            `devices` and `precision`: each is an attribute of TrainingSettings, which explains it.

    Raises:
        EvaluatorError: An argument is unknown or has a value that is not allowed.
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
        **more_settings: Unpack[TrainerArguments],
    ) -> None:
        more = known_settings(more_settings, export_onnx=export_onnx)
        settings = TrainingSettings(criterion, learning_rate, weight_decay, optimizer, **more)
        super().__init__(settings, data_of(train_dataloaders, val_dataloaders, datamodule))

    def loss(self, output: Any, target: Any) -> torch.Tensor:
        if isinstance(output, tuple):
            return super().loss(tuple(_like(part, target) for part in output), target)
        return super().loss(_like(output, target), target)

    def score(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (_like(output, target) - target).square().reshape(len(target), -1).mean(1)


def _like(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Reshapes `output` to the shape of `target`, since (batch, 1) and (batch,) would broadcast to (batch, batch)."""
    if output.shape == target.shape:
        return output
    if output.shape == (*target.shape, 1):
        return output.squeeze(-1)
    raise EvaluatorError(f"the network gives the shape {tuple(output.shape)} and the targets have {tuple(target.shape)}")
