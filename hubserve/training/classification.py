"""Accuracy of a network that is trained to classify."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from hubserve.data.loaders import Data, DataModule
from hubserve.errors import EvaluatorError
from hubserve.training.evaluator import Objective
from hubserve.training.optimizers_and_schedules import MakeOptimizer, MakeSchedule
from hubserve.training.supervised import Criterion, SupervisedEvaluator


class Classification(SupervisedEvaluator):
    """Trains a classifier and scores its accuracy on the validation data: `val_acc`, in [0, 1].

    Takes the arguments of NNI's evaluator of that name, and those of Lightning's trainer that mean something here.

    Args:
        criterion: class or instance of a loss.
        learning_rate: of the optimizer, before its schedule.
        weight_decay: of the optimizer.
        optimizer: a class of torch.optim, a functools.partial of one, or "adam", "adamw", "rmsprop", "sgd" (with Nesterov
            momentum 0.9).
        train_dataloaders: a torch data set or DataLoader of (input, class index).
        val_dataloaders: likewise.
        datamodule: gives both instead, as one of Lightning does, or `hubserve.evaluator.load_dataset`.
        export_onnx: must stay False; `hubserve export` exports.
        num_classes: checked against what the network gives, where it is told.
        batch_size: where a data set is given.
        schedule: "none", "cosine", "step" (a tenth at half and at three quarters), or a function of the optimizer and the
            number of steps that makes a scheduler, stepped after every step.
        warm_up: share of the steps over which a named schedule rises first.
        label_smoothing: of the cross entropy, in [0, 1); validation is not smoothed.
        ema_decay: scores, and saves, a moving average of the weights; None the last ones.
        auxiliary_weight: of the loss of an auxiliary head; 0.4 is that of Szegedy et al. and DARTS.
        drop_path_prob: reached linearly over the epochs, for networks that have drop path.
        trainer_kwargs: see TrainerSettings: max_epochs, limit_train_batches, gradient_clip_val, accelerator, precision, ...

    Raises:
        EvaluatorError: an argument is unknown or has a value that is not allowed.

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
        batch_size: int = 64,
        schedule: str | MakeSchedule | None = None,
        warm_up: float = 0.0,
        label_smoothing: float = 0.0,
        ema_decay: float | None = None,
        auxiliary_weight: float = 0.4,
        drop_path_prob: float = 0.0,
        **trainer_kwargs: Any,
    ) -> None:
        self.num_classes = num_classes
        super().__init__(
            _smoothed(criterion, label_smoothing),
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

    def score(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
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
    """Cross entropy, smoothed while gradients are wanted."""

    def __init__(self, smoothing: float) -> None:
        super().__init__()
        self._smoothing = smoothing

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(logits, target, label_smoothing=self._smoothing * torch.is_grad_enabled())
