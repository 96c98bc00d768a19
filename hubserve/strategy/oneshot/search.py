"""`OneShotSearch`, the base class of the running search of a one-shot strategy, which takes a step for each batch."""

import abc
import logging
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import torch

from hubserve.data.loaders import Batch
from hubserve.space import Arch
from hubserve.strategy.oneshot.weight_training import WeightTraining
from hubserve.supernet import Supernet
from hubserve.supernet.memory_estimates import weight_bytes
from hubserve.training.evaluator import TrainingEvaluator

log = logging.getLogger(__name__)

OneShotProgress = dict[str, Any]
"""One row of the history: "step", "epoch" and "train_loss"; "val_loss", where a strategy learns from validation data; "reward"
of `ENAS`; for strategies that learn probabilities, "probabilities" (label -> candidate, as text -> number) and "entropy"
(label -> nats)."""


class OneShotSearch(abc.ABC):
    """Base class of the state of a one-shot strategy while it searches one space.

    A `OneShotStrategy` holds the settings and makes a `OneShotSearch` for each run. Call `prepare` first, then for each epoch
    `begin` and one `step` for each training batch.

    Args:
        supernet: The supernet whose weights are trained.
        evaluator: Computes the losses, and provides the optimizer and learning rate schedule of the weights.
        seed: Seed of all random draws of the search.
        total_steps: Number of training steps of all epochs together.
        gradient_clip_val: Largest norm of all gradients of the weights together; 0 does not clip, None uses the evaluator's.

    Attributes:
        supernet: The supernet whose weights are trained.
        evaluator: Computes the losses, and provides the optimizer and learning rate schedule of the weights.
        weights: Takes optimizer steps on the shared weights.
        epoch: Number of the present epoch, from 0.
        rng: Draws answers; seeded anew for each epoch.
        val_batches: An endless iterator over the validation batches, in another order in each pass.
        cost_r2: Quality of the table of costs, as in `OneShotResult`; None before `prepare` or without a table.
        copies: Number of values that are stored for each weight; 4 are the weight, its gradient, and the two averages of Adam.
    """

    cost_r2: float | None = None
    copies = 4

    def __init__(
        self, supernet: Supernet, evaluator: TrainingEvaluator, *, seed: int, total_steps: int, gradient_clip_val: float | None
    ) -> None:
        self.supernet = supernet
        self.evaluator = evaluator
        self.weights = WeightTraining(supernet, evaluator, total_steps=total_steps, gradient_clip_val=gradient_clip_val)
        self.epoch = 0
        self.rng = Random(seed)
        self.val_batches: Iterator[Batch] = iter(())
        self._seed = seed

    @abc.abstractmethod
    def prepare(self, x: Any) -> None:
        """Sets up what depends on the shape of the inputs; call it once, before the first epoch.

        Args:
            x: The inputs of one training batch.

        Raises:
            SupernetError: The strategy does not support a choice of the space.
        """

    def begin(self, epoch: int, val_batches: Iterator[Batch]) -> None:
        """Starts an epoch, counted from 0: sets `epoch` and `val_batches`, and seeds `rng` and sets drop path for it."""
        self.epoch = epoch
        self.weights.begin(epoch)
        self.rng = Random(f"{self._seed}/{epoch}")
        self.val_batches = val_batches

    @abc.abstractmethod
    def step(self, x: Any, target: Any) -> OneShotProgress:
        """Takes one step on a training batch with inputs `x` and targets `target`.

        Returns the row of the history for this step, without "step" and "epoch".

        Raises:
            StrategyError: The training loss is not finite, or the strategy needs validation data and there are none.
        """

    def finish(self) -> None:
        """Ends the training after the last epoch: the supernet gets the averaged weights, if any, and is in eval mode."""
        self.weights.finish()
        self.supernet.eval()

    @abc.abstractmethod
    def arch(self) -> Arch | None:
        """Returns the canonical arch found so far; None if the strategy only trains the weights."""

    def memory_bytes(self, x: Any) -> int:
        """Returns the estimated number of bytes that a step on a batch like `x` needs.

        They are those of the weights, gradients, optimizer state and activations. Activations are left out, and this is logged,
        if `x` is nested and the network cannot run on it without values (on the meta device).
        """
        try:
            activations = self.activation_bytes(x)
        except RuntimeError as error:  # NotImplementedError among them: what torch raises where values are missing.
            if isinstance(x, torch.Tensor):
                raise
            log.info("activations are not estimated: %s", error)
            activations = 0
        averages = self.evaluator.shared_training().ema_decay is not None
        return weight_bytes(self.supernet, copies=self.copies + averages) + activations

    def activation_bytes(self, x: Any) -> int:
        """Returns the number of bytes that autograd keeps in a step on a batch like `x`; by default, of the largest network."""
        return self.supernet.activation_bytes(x)

    def state_dict(self) -> dict[str, Any]:
        """Returns the state for a checkpoint: tensors, numbers, strings, and lists and dicts of them. Nothing is copied."""
        return {**self.weights.state_dict(), **self.get_extra_state()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores a state that `state_dict` returned; call it after `prepare`."""
        self.weights.load_state_dict(state_dict)
        self.set_extra_state(state_dict)

    def get_extra_state(self) -> dict[str, Any]:
        """Returns the part of the state that is not in `weights.state_dict()`; subclasses with such state override it."""
        return {}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restores what `get_extra_state` returned; `state` may have other keys as well."""
