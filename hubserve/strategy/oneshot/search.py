"""The base class of one-shot searches, which take a step for each training batch."""

import abc
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

OneShotProgress = dict[str, Any]
"""One row of the history: "step", "epoch" and "train_loss"; "val_loss", where a strategy learns from validation data; for
strategies that learn probabilities, "probabilities" (label -> candidate -> number) and "entropy" (label -> nats)."""


class OneShotSearch(abc.ABC):
    """The state of a one-shot strategy that searches one space.

    A `OneShotStrategy` holds the settings and makes one of these for each run. Calls come in this order: `prepare`, then for
    each epoch `begin` and a `step` for each training batch.

    Args:
        supernet: The shared weights that are trained.
        evaluator: Makes the losses, and the optimizer and the schedule of the weights.
        seed: Seed of all that the search draws.
        total_steps: Number of training steps of all epochs together.
        gradient_clip_val: Largest norm of all gradients of the weights together; None takes the evaluator's.

    Attributes:
        supernet: The shared weights that are trained.
        evaluator: Makes the losses, and the optimizer and the schedule of the weights.
        weights: Trains the shared weights.
        epoch: Number of the present epoch, from 0.
        rng: Draws answers; seeded anew for each epoch.
        val_batches: The validation data again and again, each time in another order; it never ends.
        cost_r2: How well the table of costs predicts, as defined in `OneShotResult`; None before `prepare` or without a table.
        copies: Numbers that are kept for each weight: itself, its gradient, and the two averages of Adam.
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
        """Makes what depends on the shape of the inputs.

        Args:
            x: The inputs of one training batch.

        Raises:
            SupernetError: The strategy is not defined for a choice of the space.
        """

    def begin(self, epoch: int, val_batches: Iterator[Batch]) -> None:
        """Starts an epoch: sets the attributes `epoch` and `val_batches`, and seeds `rng` for it."""
        self.epoch = epoch
        self.rng = Random(f"{self._seed}/{epoch}")
        self.val_batches = val_batches

    @abc.abstractmethod
    def step(self, x: Any, target: Any) -> OneShotProgress:
        """One step on a training batch.

        Returns its row of the history, without "step" and "epoch".
        """

    @abc.abstractmethod
    def arch(self) -> Arch | None:
        """The canonical arch found so far; None where the strategy only trains the weights."""

    def memory_bytes(self, x: Any) -> int:
        """Estimated bytes of a step on batches like `x`.

        Counts weights, gradients, the optimizer's state, and activations.

        Activations are left out where `x` is not a tensor.
        """
        activations = self.activation_bytes(x) if isinstance(x, torch.Tensor) else 0
        return weight_bytes(self.supernet, copies=self.copies) + activations

    def activation_bytes(self, x: torch.Tensor) -> int:
        """Bytes that a step on batches like `x` keeps for its backward pass; here, one on the largest network."""
        return self.supernet.activation_bytes(x)

    def state_dict(self) -> dict[str, Any]:
        """All that steps change: tensors, numbers, strings, and lists and dicts of them; no copies."""
        return {**self.weights.state_dict(), **self.get_extra_state()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores the state that `state_dict` returned; call it after `prepare`."""
        self.weights.load_state_dict(state_dict)
        self.set_extra_state(state_dict)

    def get_extra_state(self) -> dict[str, Any]:
        """What steps change beside the weights and the state of their optimizer and schedule."""
        return {}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Takes what `get_extra_state` returned, among other keys."""
