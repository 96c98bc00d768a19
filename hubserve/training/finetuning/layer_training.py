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
from hubserve.jobs.status import EpochRow, best_epoch, highest_epoch
from hubserve.training.device import Devices
from hubserve.training.faster_on_cpu import faster_on_cpu
from hubserve.training.finetuning.augmented_views import RandomMixtures
from hubserve.training.finetuning.clock import Clock
from hubserve.training.finetuning.divided_batches import DividedBatch, divided_batches
from hubserve.training.finetuning.features import TrainingPart
from hubserve.training.finetuning.layer_optimizer import layer_optimizer, rate_factor
from hubserve.training.finetuning.validation import on_device, validation_scores
from hubserve.training.kept_memory import kept_memory
from hubserve.training.moving_average import moving_average
from hubserve.training.seeding import seeded
from hubserve.training.settings import TrainingSettings

CHECKPOINT = "training.pt"
"""Name of the checkpoint file of a training; it is written after each epoch."""


class LayerTraining:
    """A training of the layers after the early ones, which are the layers whose weights change.

    Several processes can train together; each has such an object. Their gradients are averaged over all images of a step.
    Batch norms normalise by the statistics of the images of their own process in training; their running statistics are those
    of the first process. The first process writes the checkpoint, reports the scores, and decides when the time is over.

    Args:
        rest: Layers that compute logits from features; they are trained in place.
        head: Modules of the head and of auxiliary heads, whose learning rate is not multiplied by `recipe.body_rate`.
        train: Training images.
        val: Validation images.
        recipe: How to train.
        classes: Number of classes.
        class_weights: Weight of each class in the loss, (classes,); None weights all classes equally.
        devices: Device and precision of this process, and what it shares with others that train with it.
        seed: Seed of all random numbers.
        folder: Existing folder of the checkpoint.
        clock: Time since the fine-tuning began.
        on_epoch: Called after each epoch, in the first process, with all scores so far.
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
        devices: Devices,
        seed: int,
        folder: Path,
        clock: Clock,
        on_epoch: Callable[[Sequence[EpochRow]], None],
    ) -> None:
        self._rest = rest
        self._train, self._val = train, val
        self._recipe = recipe
        self._class_weights = None if class_weights is None else class_weights.to(devices.device)
        self._devices = devices
        self._is_first = devices.part[0] == 0
        self._seed = seed
        self._file = folder / CHECKPOINT
        self._clock = clock
        self._on_epoch = on_epoch
        self._mix = RandomMixtures(recipe.augment, classes)
        self._optimizer = layer_optimizer(rest, head, recipe)
        self._rates = [group["lr"] for group in self._optimizer.param_groups]
        self._average: AveragedModel | None = None if recipe.ema_decay is None else moving_average(rest, recipe.ema_decay)
        # What forward passes and steps of the optimizer go through.
        self._wrapped, self._stepped = devices.prepare(rest, self._optimizer)
        # Both are in the checkpoint: the scores of all epochs, and the weights of the best one.
        self._history: list[EpochRow] = []
        self._best: dict[str, Tensor] = {}
        self._validation_seconds = 0.0

    def run(self) -> list[EpochRow]:
        """Trains until the budget is used up or `recipe.patience` ends it, starting from the checkpoint if there is one.

        Afterwards `rest` has the weights of the best epoch, the averaged ones with `recipe.ema_decay`, and is in eval mode.

        Returns:
            The scores of all epochs, from epoch 0, which is the state before the training.

        Raises:
            DatasetError: An image cannot be read.
            DivergedError: The training or the validation loss is not finite any more.
            EvaluatorError: The checkpoint is corrupt or of another number of devices, or there are no validation images.
            OSError: The checkpoint cannot be written (StorageError for a full, read-only or forbidden disk).
        """
        with kept_memory(self._devices.device):
            if self._devices.value_of_first(self._file.is_file()):
                self._resume()
            else:
                self._end_of_epoch(0, None)
            while not self._devices.value_of_first(self._is_over()):
                epoch = self._epochs_done + 1
                with faster_on_cpu(self._rest), seeded((self._seed * 1_000_003 + epoch) % 2**63):
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
        without_better = self._epochs_done - highest_epoch(self._history).epoch
        return self._share(0) >= 1 or (patience is not None and without_better >= patience)

    def _share(self, of_epoch: float) -> float:
        """Returns the used share of the budget, in [0, 1]; `of_epoch` is the share of the current epoch that is done.

        With a budget of time the processes have to agree on it, see `_agreed`.
        """
        shares = [0.0]
        if self._recipe.epochs is not None:
            shares.append((self._epochs_done + of_epoch) / self._recipe.epochs)
        if self._recipe.seconds is not None:
            # The last validation is within the budget.
            shares.append((self._clock.seconds + self._validation_seconds) / self._recipe.seconds)
        return min(1.0, max(shares))

    def _agreed(self, number: float) -> float:
        """Returns, in every process, the `number` that the first process passed."""
        own = torch.tensor(number if self._is_first else 0.0, dtype=torch.float64, device=self._devices.device)
        return float(self._devices.total(own))

    def _epoch(self) -> float:
        """Trains for one epoch, or until the budget of time is used up, and returns the mean training loss.

        At least one step is taken.

        Raises:
            DivergedError: The loss of a step is not finite.
        """
        self._set_training()
        total, count = 0.0, 0
        batches = divided_batches(len(self._train.labels), self._recipe.batch_size, self._devices.part)
        if not self._is_first:  # The order is that of the first process, but the views and mixtures are not.
            torch.manual_seed(int(torch.randint(2**62, ())) + self._devices.part[0])
        for number, batch in enumerate(batches):
            share = self._share(number / len(batches))
            if self._recipe.seconds is not None:
                share = self._agreed(share)
            if share >= 1 and self._recipe.seconds is not None and count:
                break
            for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
                group["lr"] = rate * rate_factor(share, self._recipe.warm_up)
            loss = self._step(batch)
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the training loss is {loss} in epoch {self._epochs_done + 1}: lower recipe.learning_rate or set "
                    "recipe.gradient_clip"
                )
            total, count = total + loss * len(batch.indices), count + len(batch.indices)
        sums = torch.tensor([total, count], dtype=torch.float64, device=self._devices.device)
        total, count = self._devices.total(sums).tolist()
        return total / count

    def _step(self, batch: DividedBatch) -> float:
        device = self._devices.device
        inputs, target = self._mix(self._train.features.batch(batch.indices), self._train.labels[batch.indices])
        loss = self._gradients(on_device(inputs, device), target.to(device), batch.weight)
        self._devices.step(self._wrapped, self._stepped, self._recipe.gradient_clip)
        self._optimizer.zero_grad()
        if self._average is not None:
            self._average.update_parameters(self._rest)
        return loss

    def _gradients(self, inputs: Tensor, target: Tensor, weight: float) -> float:
        """Adds the gradients of a batch to those of the parameters and returns the loss; a subclass may train more networks.

        Args:
            inputs: Features of the images, (n, ...).
            target: Class probabilities of each image, (n, classes).
            weight: Factor of the gradients, but not of the returned loss; see `DividedBatch`.
        """
        with self._devices.autocast():
            loss = self._loss(self._wrapped(inputs), target)
        self._devices.backward(loss * weight)
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
        self._devices.copy_buffers_from_first(self._rest)
        if network is not self._rest:
            self._devices.copy_buffers_from_first(network)
        val_acc, val_loss = validation_scores(network, self._val, self._devices)
        self._validation_seconds = time.monotonic() - started
        seconds = self._clock.seconds
        row = EpochRow(
            epoch=epoch,
            train_loss=train_loss,
            val_acc=val_acc,
            val_loss=val_loss,
            seconds=seconds,
            val_images=len(self._val.labels),
        )
        self._history.append(row)
        if best_epoch(self._history) is row:
            self._best = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
        if self._is_first:
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
            "devices": self._devices.part[1],
        }
        torch.save(content, buffer)
        write_atomic(self._file, buffer.getvalue())

    def _resume(self) -> None:
        """Restores weights, optimizer, history and clock from the checkpoint, and reports the history to `on_epoch`.

        Raises:
            EvaluatorError: The checkpoint is corrupt, does not fit the network, or is of a training on another number of
                devices.
        """
        try:
            content = torch.load(self._file, map_location="cpu", weights_only=True)
            before = content.get("devices", 1)  # Earlier versions trained on one.
            self._rest.load_state_dict(content["rest"])
            if self._average is not None:
                self._average.load_state_dict(content["average"])
            self._optimizer.load_state_dict(content["optimizer"])
            self._history = [EpochRow.model_validate(row) for row in content["history"]]
            self._best = content["best"]
        except (RuntimeError, KeyError, TypeError, ValueError, EOFError, UnpicklingError) as error:
            raise EvaluatorError(f"{self._file} is corrupt: {error}; delete it, and the training begins anew") from error
        if before != self._devices.part[1]:
            raise EvaluatorError(
                f"{self._file} is of a training with recipe.devices = {before}, and now it is {self._devices.part[1]}: a step "
                f"would have another number of images; go on with {before}, or delete the file, and the training begins anew"
            )
        self._clock.before = max(0.0, content["seconds"])
        if self._is_first:
            self._on_epoch(self._history)
