"""Trains the shared weights of a supernet, one network at a time."""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import nn

from hubserve.errors import StrategyError
from hubserve.supernet import SharedOptimizer, Supernet
from hubserve.training.evaluator import TrainingEvaluator


class WeightTraining:
    """Takes steps of the evaluator's optimizer and learning rate schedule on the weights of a supernet.

    Both are created when they are first used, since the weights must be on their device by then.

    Args:
        supernet: The supernet whose weights are trained.
        evaluator: Creates the optimizer and the schedule.
        total_steps: Number of steps of the whole schedule.
        gradient_clip_val: Largest norm of all gradients of a step together; None uses the evaluator's.
    """

    def __init__(
        self, supernet: Supernet, evaluator: TrainingEvaluator, *, total_steps: int, gradient_clip_val: float | None = None
    ) -> None:
        self._supernet = supernet
        self._evaluator = evaluator
        self._total_steps = total_steps
        self._clip = evaluator.shared_training().gradient_clip_val if gradient_clip_val is None else gradient_clip_val

    @cached_property
    def _made(self) -> tuple[SharedOptimizer, torch.optim.lr_scheduler.LRScheduler | None]:
        optimizer = self._evaluator.make_optimizer(iter(self._supernet.tensors.parameters()))
        schedule = self._evaluator.make_schedule(optimizer, self._total_steps)
        return SharedOptimizer(self._supernet.tensors, optimizer), schedule

    @property
    def learning_rate(self) -> float:
        """The present learning rate of the optimizer's first parameter group."""
        optimizer, _ = self._made
        return float(optimizer.optimizer.param_groups[0]["lr"])

    def step(self, loss: torch.Tensor, leaves: Mapping[str, nn.Parameter]) -> float:
        """Takes one step of the optimizer and of the schedule; returns the value of `loss`.

        Args:
            loss: The training loss of one network, a scalar on which `backward` is called.
            leaves: Maps keys to the parameters of that network (`Subnet.leaves`).

        Raises:
            StrategyError: The loss is not finite.
        """
        value = float(loss.detach())
        if not math.isfinite(value):
            raise StrategyError(f"the training loss is {value}: lower the learning rate, or set gradient_clip_val")
        optimizer, schedule = self._made
        loss.backward()  # type: ignore[no-untyped-call]
        if self._clip is not None:
            nn.utils.clip_grad_norm_([leaf for leaf in leaves.values() if leaf.grad is not None], self._clip)
        optimizer.step(leaves)
        if schedule is not None:
            schedule.step()
        return value

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the weights, the optimizer and the schedule. Nothing is copied."""
        optimizer, schedule = self._made
        return {
            "weights": self._supernet.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": None if schedule is None else schedule.state_dict(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores a state that `state_dict` returned; states of commit 4304603 and earlier, with other keys, are accepted."""
        optimizer, schedule = self._made
        self._supernet.load_state_dict(_with_torch_keys(state_dict["weights"]))
        optimizer.load_state_dict(state_dict["optimizer"])
        if schedule is not None:
            schedule.load_state_dict(state_dict["schedule"])


def _with_torch_keys(weights: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the supernet's state dict stored in a checkpoint of any version.

    Commit 4304603 and earlier ones stored {"parameters": ..., "buffers": ...} in place of the state dict.
    """
    if weights.keys() != {"parameters", "buffers"}:
        return weights
    return {f"tensors.{key}": tensor for part in weights.values() for key, tensor in part.items()}


def train_network(
    supernet: Supernet, arch: Mapping[str, Any], evaluator: TrainingEvaluator, x: Any, target: Any
) -> tuple[torch.Tensor, dict[str, nn.Parameter]]:
    """Returns (loss, leaves): the loss of the network of `arch` on one batch, and its parameters by key.

    Args:
        supernet: The supernet; it is set to train mode.
        arch: The arch whose network is run.
        evaluator: Computes the loss.
        x: Inputs of the batch.
        target: Targets of the batch.
    """
    supernet.train()
    subnet = supernet.subnet(arch)
    return evaluator.loss(subnet.network(x), target), subnet.leaves
