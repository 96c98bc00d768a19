"""`Regression`: the evaluator that trains a network to predict numbers and scores its mean squared error."""

from typing import Any, ClassVar, Unpack

import torch
from torch import nn

from hubserve.data.loaders import Data, DataModule, data_of
from hubserve.errors import EvaluatorError
from hubserve.training.evaluator import Objective
from hubserve.training.optimizers_and_schedules import MakeOptimizer
from hubserve.training.settings import Criterion, TrainerArguments, TrainingSettings, known_settings
from hubserve.training.supervised import SupervisedEvaluator, one_tensor


class Regression(SupervisedEvaluator):
    """An evaluator that trains a network to predict numbers and scores its mean squared error on the validation data.

    The score is "val_mse". A search minimises it (in contrast to NNI, which maximises every score). If the output of the
    network has the shape (batch, 1), the targets may have the shape (batch,); with other differences of shape, the loss and the
    score raise EvaluatorError. An input is a tensor, or a list, tuple or dict of tensors in any nesting, which the network gets
    as its one argument.

    Args:
        criterion: Class or instance of a loss, or a function (output, targets) -> scalar tensor.
        learning_rate: Learning rate of the optimizer, at least 0; a schedule multiplies it by a factor.
        weight_decay: Weight decay of the optimizer, at least 0.
        optimizer: Class of torch.optim, a functools.partial of one, or "adam", "adamw", "rmsprop", or "sgd" (with Nesterov
            momentum 0.9).
        train_dataloaders: Torch data set or DataLoader of (input, target) for training; None if nothing is trained.
        val_dataloaders: Torch data set or DataLoader of (input, target) for validation; None if nothing is validated.
        datamodule: Object with both data sets, given in place of the two arguments above, such as a data module of Lightning or
            the result of `hubserve.evaluator.load_dataset`.
        export_onnx: Must be False; `hubserve export` exports a model.
        **more_settings: Further settings of the training, such as `batch_size`, `schedule`, `max_epochs`, `accelerator`,
            `devices` and `precision`. `TrainingSettings` explains all of them.

    Raises:
        EvaluatorError: An argument is unknown or has a value that is not allowed, or `datamodule` is given together with
            `train_dataloaders` or `val_dataloaders`.
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

    def distillation_loss(self, output: Any, teacher: Any) -> torch.Tensor:
        """Returns the loss with the output of `teacher` as the targets."""
        return self.loss(output, teacher[0] if isinstance(teacher, tuple) else teacher)

    def score(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (_like(one_tensor(output), target) - target).square().reshape(len(target), -1).mean(1)


def _like(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Returns `output` in the shape of `target`, since (batch, 1) and (batch,) would broadcast to (batch, batch).

    Raises:
        EvaluatorError: `output` has neither the shape of `target` nor that shape with a last axis of length 1.
    """
    if output.shape == target.shape:
        return output
    if output.shape == (*target.shape, 1):
        return output.squeeze(-1)
    raise EvaluatorError(f"the network gives the shape {tuple(output.shape)} and the targets have {tuple(target.shape)}")
