"""`train`: the training loop over all epochs, on one device or several."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from hubserve.data.loaders import Batch, Batches
from hubserve.data.nested_batches import batch_on
from hubserve.errors import DivergedError, EvaluatorError, TrialPruned
from hubserve.training.device import Devices
from hubserve.training.moving_average import moving_average
from hubserve.training.settings import TrainingSettings
from hubserve.training.training_checkpoint import TrainingCheckpoint

Scores = dict[str, float]


@dataclass(frozen=True)
class LoopParts:
    """The functions that a training loop calls, and its settings.

    Attributes:
        settings: Settings of the training. The loop uses the numbers of epochs and steps, the accumulation and clipping of
            gradients, and the moving average of the weights.
        batches: Function (epoch, from 0) -> batches of that epoch.
        loss: Function (output of the network, targets) -> scalar tensor.
        make_optimizer: Function (parameters) -> optimizer.
        make_schedule: Function (optimizer, number of steps) -> scheduler, which is stepped after every step of the optimizer,
            or None for a constant learning rate.
        before_epoch: Function that is called with the model and the epoch before each epoch.
        validate: Function (model) -> scores on the validation data, by name.
        report: Function that is called with the epoch and its scores after each epoch, in the first process only; it raises
            TrialPruned to end the training in all processes.
        checkpoint: File of the state of the training, which is written by the first process after each epoch. If it exists, the
            training goes on from there, and all processes read it. None writes none.
    """

    settings: TrainingSettings
    batches: Callable[[int], Batches]
    loss: Callable[[Any, Any], torch.Tensor]
    make_optimizer: Callable[[Iterator[nn.Parameter]], Optimizer]
    make_schedule: Callable[[Optimizer, int], LRScheduler | None]
    before_epoch: Callable[[nn.Module, int], None]
    validate: Callable[[nn.Module], Scores]
    report: Callable[[int, Scores], None]
    checkpoint: Path | None = None


def train(model: nn.Module, parts: LoopParts, devices: Devices) -> Scores:
    """Trains `model` in place and returns its scores.

    With a checkpoint, an interrupted training goes on with the epoch after the last complete one, with the same result as
    without the interruption on one device (the loss scale of "16-mixed" begins anew).

    Afterwards `model` is in eval mode. If `parts.settings.ema_decay` is set, it has the averaged weights.

    Args:
        model: Network with its initial weights.
        parts: Functions that the loop calls, and its settings.
        devices: Device or devices on which the loop runs.

    Returns:
        The scores after the last epoch, and "train_loss", the mean loss of the batches of that epoch.

    Raises:
        DivergedError: The training loss or a validation score is infinite or NaN.
        EvaluatorError: The training or validation data have no batch; or the checkpoint is corrupt, or of another training.
        TrialPruned: `parts.report` ended the training.
        OSError: The checkpoint cannot be written.
    """
    model.to(devices.device).train()
    loop = _Loop(model, parts, devices)
    first, scores = loop.resume()
    for epoch in range(first, parts.settings.max_epochs):
        if loop.done:
            break
        parts.before_epoch(model, epoch)
        train_loss = loop.epoch(epoch)
        scores = loop.validated() | {"train_loss": train_loss}
        _report(parts, devices, epoch, scores)
        loop.save(epoch + 1, scores)
    loop.finish()
    model.eval()
    return scores


class _Loop:
    """The state of a training: the optimizer, the schedule, the averaged weights, and the number of steps that are left."""

    def __init__(self, model: nn.Module, parts: LoopParts, devices: Devices) -> None:
        self._model = model
        self._parts = parts
        self._devices = devices
        settings = parts.settings
        per_epoch = math.ceil(len(parts.batches(0)) / settings.accumulate_grad_batches)
        if per_epoch == 0:
            raise EvaluatorError("the training data has no batch; give more data or a smaller batch_size")
        planned = settings.max_epochs * per_epoch
        self._steps_left = planned if settings.max_steps < 0 else min(planned, settings.max_steps)
        self._checkpoint = None if parts.checkpoint is None else TrainingCheckpoint(parts.checkpoint, self._steps_left)
        self._plain_optimizer = parts.make_optimizer(model.parameters())
        self._wrapped, self._optimizer = devices.prepare(model, self._plain_optimizer)
        self._schedule = parts.make_schedule(self._optimizer, self._steps_left)
        self._average = None if settings.ema_decay is None else moving_average(model, settings.ema_decay)

    @property
    def done(self) -> bool:
        """Whether no training step is left."""
        return self._steps_left <= 0

    def resume(self) -> tuple[int, Scores]:
        """Restores the state in the checkpoint; returns the number of complete epochs and the scores of the last one.

        Returns 0 and no scores if there is no checkpoint.

        Raises:
            EvaluatorError: The checkpoint is corrupt, or of another training or network.
        """
        found = None if self._checkpoint is None else self._checkpoint.read()
        if found is None:
            return 0, {}
        try:
            self._model.load_state_dict(found["model"])
        except RuntimeError as error:
            raise EvaluatorError(
                f"{self._parts.checkpoint} is of another network ({error}); delete it, and the training begins anew"
            ) from error
        for name, part in (("optimizer", self._plain_optimizer), ("schedule", self._schedule), ("average", self._average)):
            self._restore(name, part, found[name])
        self._steps_left = found["steps_left"]
        return found["epochs"], found["scores"]

    def _restore(self, name: str, part: Any, state: dict[str, Any] | None) -> None:
        """Loads the state of an optimizer, a schedule or averaged weights, if there is one; `name` is its key.

        Raises:
            EvaluatorError: The checkpoint has none and this training has one, or the other way round, or one of another kind.
        """
        other = EvaluatorError(
            f"{self._parts.checkpoint} is of a training with another {name}; delete it, and the training begins anew"
        )
        if (part is None) != (state is None):
            raise other
        if part is None or state is None:
            return
        if name == "optimizer" and set(state["param_groups"][0]) != set(part.param_groups[0]):
            raise other
        try:
            part.load_state_dict(state)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise other from error

    def save(self, epochs: int, scores: Scores) -> None:
        """Writes the checkpoint, if there is to be one, in the first process.

        Args:
            epochs: Number of complete epochs.
            scores: Scores of the last one.

        Raises:
            OSError: The file cannot be written.
        """
        if self._checkpoint is None or self._devices.part[0] != 0:
            return
        self._checkpoint.write(
            {
                "model": self._model.state_dict(),
                "optimizer": self._plain_optimizer.state_dict(),
                "schedule": None if self._schedule is None else self._schedule.state_dict(),
                "average": None if self._average is None else self._average.state_dict(),
                "steps_left": self._steps_left,
                "epochs": epochs,
                "scores": scores,
            }
        )

    def epoch(self, epoch: int) -> float:
        """Trains for one pass over the data, or until no step is left, and returns the mean loss of the batches.

        Raises:
            DivergedError: The mean loss is infinite or NaN.
        """
        batches = self._parts.batches(epoch)
        every = self._parts.settings.accumulate_grad_batches
        total, count = torch.zeros((), device=self._devices.device), 0
        for i, batch in enumerate(batches):
            loss = self._loss(batch)
            self._devices.backward(loss / every)
            total += loss.detach()
            count += 1
            if (i + 1) % every == 0 or i + 1 == len(batches):
                self._step()
            if self.done:
                break
        mean, n = self._devices.total(torch.stack([total, torch.tensor(float(count), device=total.device)])).tolist()
        if not math.isfinite(mean):
            raise DivergedError(f"the training loss is {mean} in epoch {epoch}: lower the learning rate or clip the gradients")
        return mean / n

    def _loss(self, batch: Batch) -> torch.Tensor:
        inputs, target = batch_on(batch, self._devices.device, non_blocking=True)
        with self._devices.autocast():
            return self._parts.loss(self._wrapped(inputs), target)

    def _step(self) -> None:
        self._devices.step(self._wrapped, self._optimizer, self._parts.settings.gradient_clip_val)
        self._optimizer.zero_grad()
        if self._schedule is not None:
            self._schedule.step()
        if self._average is not None:
            self._average.update_parameters(self._model)
        self._steps_left -= 1

    def validated(self) -> Scores:
        """Returns the validation scores of the averaged weights, or of the current weights if none are averaged."""
        network = self._model if self._average is None else self._average.module
        self._devices.copy_buffers_from_first(self._model)
        if network is not self._model:
            self._devices.copy_buffers_from_first(network)
        return self._parts.validate(network)

    def finish(self) -> None:
        """Copies the averaged weights into the model, if weights are averaged."""
        if self._average is not None:
            self._model.load_state_dict(self._average.module.state_dict())


def _report(parts: LoopParts, devices: Devices, epoch: int, scores: Scores) -> None:
    """Reports the scores in the first process; if the report raises TrialPruned there, raises it in all processes."""
    pruned: TrialPruned | None = None
    if devices.part[0] == 0:
        try:
            parts.report(epoch, scores)
        except TrialPruned as error:
            pruned = error
    if devices.value_of_first(pruned is not None):
        raise pruned or TrialPruned(f"ended after epoch {epoch}")
