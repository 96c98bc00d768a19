"""The training loop: straight from the first epoch to the last, whatever is trained and wherever."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from hubserve.data.loaders import Batches
from hubserve.errors import EvaluatorError, TrialPruned
from hubserve.training.device import Runtime
from hubserve.training.moving_average import MovingAverage
from hubserve.training.settings import TrainerSettings

Scores = dict[str, float]


@dataclass(frozen=True)
class Course:
    """What a training consists of.

    Attributes:
        settings: how long.
        batches: epoch -> its batches.
        loss: (output, target) -> a scalar.
        make_optimizer: parameters -> optimizer.
        make_schedule: (optimizer, number of steps) -> scheduler or None.
        average: model -> average of its weights; None keeps the last ones.
        before_epoch: told the model and the epoch.
        validate: model -> scores.
        report: told the epoch and its scores; raises TrialPruned where the rest is not worth it.
    """

    settings: TrainerSettings
    batches: Callable[[int], Batches]
    loss: Callable[[Any, Any], torch.Tensor]
    make_optimizer: Callable[[Iterator[nn.Parameter]], Optimizer]
    make_schedule: Callable[[Optimizer, int], LRScheduler | None]
    average: Callable[[nn.Module], MovingAverage] | None
    before_epoch: Callable[[nn.Module, int], None]
    validate: Callable[[nn.Module], Scores]
    report: Callable[[int, Scores], None]


def train(model: nn.Module, course: Course, runtime: Runtime) -> Scores:
    """Trains `model` in place; afterwards it has the averaged weights, where there are such, and is in eval mode.

    Returns:
        The scores of the last epoch, with "train_loss" beside them.

    Raises:
        EvaluatorError: the training loss is not finite any more.
        TrialPruned: from `course.report`.
    """
    model.to(runtime.device).train()
    run = _Run(model, course, runtime)
    scores: Scores = {}
    for epoch in range(course.settings.max_epochs):
        course.before_epoch(model, epoch)
        train_loss = run.epoch(epoch)
        scores = run.validated() | {"train_loss": train_loss}
        _report(course, runtime, epoch, scores)
        if run.done:
            break
    run.finish()
    model.eval()
    return scores


class _Run:
    """A training under way."""

    def __init__(self, model: nn.Module, course: Course, runtime: Runtime) -> None:
        self._model = model
        self._course = course
        self._runtime = runtime
        settings = course.settings
        per_epoch = math.ceil(len(course.batches(0)) / settings.accumulate_grad_batches)
        if per_epoch == 0:
            raise EvaluatorError("the training data has no batch; give more data or a smaller batch_size")
        planned = settings.max_epochs * per_epoch
        self._steps_left = planned if settings.max_steps < 0 else min(planned, settings.max_steps)
        self._wrapped, self._optimizer = runtime.prepare(model, course.make_optimizer(model.parameters()))
        self._schedule = course.make_schedule(self._optimizer, self._steps_left)
        self._average = None if course.average is None else course.average(model)

    @property
    def done(self) -> bool:
        return self._steps_left <= 0

    def epoch(self, epoch: int) -> float:
        """One pass; the mean loss."""
        batches = self._course.batches(epoch)
        every = self._course.settings.accumulate_grad_batches
        total, count = torch.zeros((), device=self._runtime.device), 0
        for i, (inputs, target) in enumerate(batches):
            loss = self._loss(inputs, target)
            self._runtime.backward(loss / every)
            total += loss.detach()
            count += 1
            if (i + 1) % every == 0 or i + 1 == len(batches):
                self._step()
            if self.done:
                break
        mean, n = self._runtime.total(torch.stack([total, torch.tensor(float(count), device=total.device)])).tolist()
        if not math.isfinite(mean):
            raise EvaluatorError(f"the training loss is {mean} in epoch {epoch}: lower the learning rate or clip the gradients")
        return mean / n

    def _loss(self, inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        device = self._runtime.device
        with self._runtime.autocast():
            output = self._wrapped(inputs.to(device, non_blocking=True))
            return self._course.loss(output, target.to(device, non_blocking=True))

    def _step(self) -> None:
        self._runtime.step(self._wrapped, self._optimizer, self._course.settings.gradient_clip_val)
        self._optimizer.zero_grad()
        if self._schedule is not None:
            self._schedule.step()
        if self._average is not None:
            self._average.update(self._model)
        self._steps_left -= 1

    def validated(self) -> Scores:
        """Scores of the averaged weights, or of the current ones."""
        self._runtime.agree(self._model)
        if self._average is None:
            return self._course.validate(self._model)
        self._average.swap(self._model)
        scores = self._course.validate(self._model)
        self._average.swap(self._model)
        return scores

    def finish(self) -> None:
        if self._average is not None:
            self._average.swap(self._model)


def _report(course: Course, runtime: Runtime, epoch: int, scores: Scores) -> None:
    """The first process reports; all of them end where it is told to."""
    pruned: TrialPruned | None = None
    if runtime.part[0] == 0:
        try:
            course.report(epoch, scores)
        except TrialPruned as error:
            pruned = error
    if runtime.first_says(pruned is not None):
        raise pruned or TrialPruned(f"ended after epoch {epoch}")
