"""`LayerTraining`: trains the layers after the early ones, with a budget, a moving average, early stopping and a checkpoint."""

import io
import math
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from hubserve.atomic import write_atomic
from hubserve.errors import DivergedError, EvaluatorError
from hubserve.jobs.fine_tune_recipe import FineTuneRecipe
from hubserve.jobs.status import EpochRow, best_epoch
from hubserve.training.device import OneDevice
from hubserve.training.finetuning.augmented_views import RandomMixtures
from hubserve.training.finetuning.clock import Clock
from hubserve.training.finetuning.features import TrainingPart
from hubserve.training.moving_average import moving_average
from hubserve.training.optimizers_and_schedules import SCHEDULES
from hubserve.training.seeding import seeded
from hubserve.training.settings import TrainingSettings

CHECKPOINT = "training.pt"
"""Name of the checkpoint file of a training; it is written after each epoch."""

EVALUATION_BATCH = 128


class LayerTraining:
    """A training of the layers after the early ones, which are the layers whose weights change.

    Args:
        rest: Layers that compute logits from features; they are trained in place.
        head: Modules of the head and of auxiliary heads, whose learning rate is not multiplied by `recipe.body_rate`.
        train: Training images.
        val: Validation images.
        recipe: How to train.
        classes: Number of classes.
        class_weights: Weight of each class in the loss, (classes,); None weights all classes equally.
        device: Device and precision.
        seed: Seed of all random numbers.
        folder: Existing folder of the checkpoint.
        clock: Time since the fine-tuning began.
        on_epoch: Called after each epoch with all scores so far.
    """

    def __init__(
        self,
        rest: nn.Module,
        head: Collection[nn.Module],
        train: TrainingPart,
        val: TrainingPart,
        recipe: FineTuneRecipe,
        *,
        classes: int,
        class_weights: Tensor | None,
        device: OneDevice,
        seed: int,
        folder: Path,
        clock: Clock,
        on_epoch: Callable[[Sequence[EpochRow]], None],
    ) -> None:
        self._rest = rest
        self._train, self._val = train, val
        self._recipe = recipe
        self._class_weights = None if class_weights is None else class_weights.to(device.device)
        self._device = device
        self._seed = seed
        self._file = folder / CHECKPOINT
        self._clock = clock
        self._on_epoch = on_epoch
        self._mix = RandomMixtures(recipe.augment, classes)
        self._optimizer = _optimizer(rest, head, recipe)
        self._rates = [group["lr"] for group in self._optimizer.param_groups]
        self._average: AveragedModel | None = None if recipe.ema_decay is None else moving_average(rest, recipe.ema_decay)
        # Both are in the checkpoint: the scores of all epochs, and the weights of the best one.
        self._history: list[EpochRow] = []
        self._best: dict[str, Tensor] = {}
        self._validation_seconds = 0.0

    def run(self) -> list[EpochRow]:
        """Trains until the budget is used up, starting from the checkpoint if there is one.

        Afterwards `rest` has the weights of the best epoch and is in eval mode.

        Returns:
            The scores of all epochs, from epoch 0.

        Raises:
            DivergedError: The loss is not finite any more.
            EvaluatorError: The checkpoint is corrupt, or there are no validation images.
        """
        if not self._resume():
            self._end_of_epoch(0, None)
        while not self._is_over():
            epoch = self._epochs_done + 1
            with seeded((self._seed * 1_000_003 + epoch) % 2**63):
                loss = self._epoch()
            self._end_of_epoch(epoch, loss)
        self._rest.load_state_dict(self._best)
        self._rest.eval()
        return self._history

    @property
    def _epochs_done(self) -> int:
        return self._history[-1].epoch

    def _is_over(self) -> bool:
        patience = self._recipe.patience
        without_better = self._epochs_done - best_epoch(self._history).epoch
        return self._share(0) >= 1 or (patience is not None and without_better >= patience)

    def _share(self, of_epoch: float) -> float:
        """Returns the used share of the budget, in [0, 1]; `of_epoch` is the share of the current epoch that is done."""
        shares = [0.0]
        if self._recipe.epochs is not None:
            shares.append((self._epochs_done + of_epoch) / self._recipe.epochs)
        if self._recipe.seconds is not None:
            # The last validation is within the budget.
            shares.append((self._clock.seconds + self._validation_seconds) / self._recipe.seconds)
        return min(1.0, max(shares))

    def _epoch(self) -> float:
        """Trains for one epoch, or until the budget of time is used up, and returns the mean training loss."""
        self._set_training()
        total, count = 0.0, 0
        batches = _batches(len(self._train.labels), self._recipe.batch_size)
        for number, indices in enumerate(batches):
            share = self._share(number / len(batches))
            if share >= 1 and self._recipe.seconds is not None and count:
                break
            for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
                group["lr"] = rate * _rate_factor(share, self._recipe.warm_up)
            loss = self._step(indices)
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the training loss is {loss} in epoch {self._epochs_done + 1}: lower recipe.learning_rate or set "
                    "recipe.gradient_clip"
                )
            total, count = total + loss * len(indices), count + len(indices)
        return total / count

    def _step(self, indices: Tensor) -> float:
        device = self._device.device
        inputs, target = self._mix(self._train.features.batch(indices), self._train.labels[indices])
        with self._device.autocast():
            output = self._rest(_on(inputs, device))
            loss = self._loss(output, target.to(device))
        self._device.backward(loss)
        self._device.step(self._rest, self._optimizer, self._recipe.gradient_clip)
        self._optimizer.zero_grad()
        if self._average is not None:
            self._average.update_parameters(self._rest)
        return float(loss.detach())

    def _loss(self, output: Any, target: Tensor) -> Tensor:
        if isinstance(output, tuple):  # Logits, and those of an auxiliary head.
            return self._loss(output[0], target) + TrainingSettings.auxiliary_weight * self._loss(output[1], target)
        return functional.cross_entropy(
            output.float(), target, self._class_weights, label_smoothing=self._recipe.label_smoothing
        )

    def _set_training(self) -> None:
        self._rest.train()
        if self._recipe.batch_norm == "frozen":
            for module in self._rest.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _end_of_epoch(self, epoch: int, train_loss: float | None) -> None:
        started = time.monotonic()
        network = self._rest if self._average is None or epoch == 0 else self._average.module
        val_acc, val_loss = validation_scores(network, self._val, self._device)
        self._validation_seconds = time.monotonic() - started
        seconds = self._clock.seconds
        row = EpochRow(epoch=epoch, train_loss=train_loss, val_acc=val_acc, val_loss=val_loss, seconds=seconds)
        self._history.append(row)
        if best_epoch(self._history) is row:
            self._best = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
        self._save()
        self._on_epoch(self._history)

    def _save(self) -> None:
        buffer = io.BytesIO()
        average = None if self._average is None else self._average.state_dict()
        content = {
            "rest": self._rest.state_dict(),
            "average": average,
            "optimizer": self._optimizer.state_dict(),
            "history": [row.model_dump() for row in self._history],
            "best": self._best,
            "seconds": self._clock.seconds,
        }
        torch.save(content, buffer)
        write_atomic(self._file, buffer.getvalue())

    def _resume(self) -> bool:
        """Restores weights, optimizer, history and clock from the checkpoint, and reports the history to `on_epoch`.

        Returns:
            True; or False, without doing anything, if there is no checkpoint.

        Raises:
            EvaluatorError: The checkpoint is corrupt or does not fit the network.
        """
        if not self._file.is_file():
            return False
        try:
            content = torch.load(self._file, map_location="cpu", weights_only=True)
            self._rest.load_state_dict(content["rest"])
            if self._average is not None:
                self._average.load_state_dict(content["average"])
            self._optimizer.load_state_dict(content["optimizer"])
            self._history = [EpochRow.model_validate(row) for row in content["history"]]
            self._best = content["best"]
        except (RuntimeError, KeyError, TypeError, ValueError, EOFError, UnpicklingError) as error:
            raise EvaluatorError(f"{self._file} is corrupt: {error}; delete it, and the training begins anew") from error
        self._clock.before = max(0.0, content["seconds"])
        self._on_epoch(self._history)
        return True


@torch.no_grad()
def validation_scores(network: nn.Module, part: TrainingPart, device: OneDevice) -> tuple[float, float]:
    """Returns the accuracy, in [0, 1], and the mean cross entropy of a network, which is in eval mode afterwards.

    Raises:
        EvaluatorError: The part has no images.
        DivergedError: The cross entropy is not finite.
    """
    if len(part.labels) == 0:
        raise EvaluatorError("there are no validation images; give some, or a larger val_share")
    network.eval()
    hits, loss = 0, 0.0
    for indices in torch.arange(len(part.labels)).split(EVALUATION_BATCH):  # type: ignore[no-untyped-call]
        with device.autocast():
            logits = network(_on(part.features.batch(indices), device.device)).float().cpu()
        target = part.labels[indices]
        hits += int((logits.argmax(1) == target).sum())
        loss += float(functional.cross_entropy(logits, target, reduction="sum"))
    if not math.isfinite(loss):
        raise DivergedError("the validation loss is not finite: lower recipe.learning_rate or set recipe.gradient_clip")
    return hits / len(part.labels), loss / len(part.labels)


def _optimizer(rest: nn.Module, head: Collection[nn.Module], recipe: FineTuneRecipe) -> torch.optim.Optimizer:
    """Returns SGD with Nesterov momentum; the head and the body have learning rates of their own.

    Only parameters with two or more dimensions have weight decay, so biases and batch norm layers have none.
    """
    of_head = {parameter for module in head for parameter in module.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in rest.parameters():
        is_head = parameter in of_head
        if not is_head and recipe.body_rate == 0:
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            groups.setdefault((is_head, parameter.dim() > 1), []).append(parameter)
    return torch.optim.SGD(
        [
            {
                "params": parameters,
                "lr": recipe.learning_rate * (1.0 if is_head else recipe.body_rate),
                "weight_decay": recipe.weight_decay if decays else 0.0,
            }
            for (is_head, decays), parameters in groups.items()
        ],
        momentum=0.9,
        nesterov=True,
    )


def _rate_factor(share: float, warm_up: float) -> float:
    """Returns the factor, in [0, 1], by which the learning rate is multiplied once the share `share` of the budget is used."""
    rising = min(1.0, max(share, 1e-3) / warm_up) if warm_up > 0 else 1.0
    return rising * SCHEDULES["cosine"](max(0.0, share - warm_up) / (1 - warm_up))


def _batches(n: int, batch_size: int) -> list[Tensor]:
    """Returns the indices 0 to n - 1 in random order, divided into batches.

    If the last batch would have a single index, it is added to the batch before it: batch norm cannot be trained on one image.
    """
    batches = list(torch.randperm(n).split(batch_size))  # type: ignore[no-untyped-call]
    if len(batches) > 1 and len(batches[-1]) == 1:
        last = batches.pop()
        batches[-1] = torch.cat([batches[-1], last])
    return batches


def _on(inputs: Tensor, device: torch.device) -> Tensor:
    layout = torch.channels_last if inputs.dim() == 4 else torch.contiguous_format
    return inputs.to(device, memory_format=layout)
