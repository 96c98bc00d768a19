"""`Classification`: the evaluator that trains a classifier and scores its accuracy."""

from typing import Any, ClassVar, Unpack

import torch
from torch import nn

from hubserve.data.loaders import Data, DataModule, data_of
from hubserve.errors import EvaluatorError
from hubserve.training.evaluator import Objective
from hubserve.training.optimizers_and_schedules import MakeOptimizer
from hubserve.training.settings import Criterion, TrainerArguments, TrainingSettings, known_settings
from hubserve.training.soft_labels import soft_cross_entropy
from hubserve.training.supervised import SupervisedEvaluator, one_tensor


class Classification(SupervisedEvaluator):
    """An evaluator that trains a classifier and scores its accuracy on the validation data: "val_acc", in [0, 1].

    It has the arguments of NNI's evaluator of the same name, and accepts many arguments of Lightning's trainer. An input is a
    tensor, or a list, tuple or dict of tensors in any nesting, which the network gets as its one argument.

    Args:
        criterion: Class or instance of a loss, or a function (output, targets) -> scalar tensor.
        learning_rate: Learning rate of the optimizer, at least 0; a schedule multiplies it by a factor.
        weight_decay: Weight decay of the optimizer, at least 0.
        optimizer: Class of torch.optim, a functools.partial of one, or "adam", "adamw", "rmsprop", or "sgd" (with Nesterov
            momentum 0.9).
        train_dataloaders: Torch data set or DataLoader of (input, class index) for training; None if nothing is trained.
        val_dataloaders: Torch data set or DataLoader of (input, class index) for validation; None if nothing is validated.
        datamodule: Object with both data sets, given in place of the two arguments above, such as a data module of Lightning or
            the result of `hubserve.evaluator.load_dataset`.
        export_onnx: Must be False; `hubserve export` exports a model.
        num_classes: Number of classes that the network must have: the score of another one raises EvaluatorError. None means
            that it is not checked.
        label_smoothing: Label smoothing of the training loss, in [0, 1); the validation loss is not smoothed. A value above 0
            is only allowed with the default `criterion`.
        **more_settings: Further settings of the training, such as `batch_size`, `schedule`, `max_epochs`, `accelerator`,
            `devices` and `precision`. `TrainingSettings` explains all of them.

    Raises:
        EvaluatorError: An argument is unknown or has a value that is not allowed, or `datamodule` is given together with
            `train_dataloaders` or `val_dataloaders`.

    >>> evaluator = Classification(train_dataloaders=train, val_dataloaders=val, num_classes=10, max_epochs=5)
    >>> evaluator.fit(model)
    {'val_acc': 0.98, 'val_loss': 0.06, 'train_loss': 0.05}
    """

    objectives = (Objective("val_acc"),)
    score_name: ClassVar[str] = "val_acc"

    def __init__(
        self,
        criterion: type[nn.Module] | Criterion = nn.CrossEntropyLoss,
        learning_rate: float = 0.001,
        weight_decay: float = 0.0,
        optimizer: str | MakeOptimizer = torch.optim.Adam,
        train_dataloaders: Data = None,
        val_dataloaders: Data = None,
        datamodule: DataModule | None = None,
        export_onnx: bool = False,
        num_classes: int | None = None,
        *,
        label_smoothing: float = 0.0,
        **more_settings: Unpack[TrainerArguments],
    ) -> None:
        more = known_settings(more_settings, export_onnx=export_onnx)
        settings = TrainingSettings(_smoothed(criterion, label_smoothing), learning_rate, weight_decay, optimizer, **more)
        super().__init__(settings, data_of(train_dataloaders, val_dataloaders, datamodule))
        self.num_classes = num_classes

    def distillation_loss(self, output: Any, teacher: Any) -> torch.Tensor:
        """Returns the cross entropy against the class probabilities of `teacher`, whatever `criterion` is.

        That of an auxiliary head against the main logits of `teacher` is added, multiplied by `auxiliary_weight`.
        """
        if isinstance(output, tuple):
            # The auxiliary head learns from the main logits of the larger network, too.
            logits, auxiliary = output
            return self.distillation_loss(logits, teacher) + self.settings.auxiliary_weight * self.distillation_loss(
                auxiliary, teacher
            )
        return soft_cross_entropy(output, teacher[0] if isinstance(teacher, tuple) else teacher)

    def score(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        output = one_tensor(output)
        if self.num_classes not in (None, output.shape[1]):
            raise EvaluatorError(
                f"the network gives {output.shape[1]} classes and num_classes = {self.num_classes}; set the space's num_labels"
            )
        return (output.argmax(1) == target).float()


def _smoothed(criterion: type[nn.Module] | Criterion, smoothing: float) -> type[nn.Module] | Criterion:
    if smoothing == 0.0:
        return criterion
    if criterion is not nn.CrossEntropyLoss:
        raise EvaluatorError(
            f"label_smoothing = {smoothing} is of nn.CrossEntropyLoss; give your criterion its own, and 0 here"
        )
    if not 0.0 < smoothing < 1.0:
        raise EvaluatorError(f"label_smoothing = {smoothing} must lie in [0, 1)")
    return _SmoothedCrossEntropy(smoothing)


class _SmoothedCrossEntropy(nn.Module):
    """A cross-entropy loss with label smoothing in training: smoothing is applied only if gradients are enabled.

    Args:
        smoothing: Label smoothing, in (0, 1).
    """

    def __init__(self, smoothing: float) -> None:
        super().__init__()
        self._smoothing = smoothing

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(logits, target, label_smoothing=self._smoothing * torch.is_grad_enabled())
