"""Training of the shared weights, one network at a time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import nn

from hubserve.errors import StrategyError
from hubserve.supernet import SharedOptimizer, Supernet
from hubserve.training.evaluator import TrainingEvaluator


class WeightTraining:
    """The evaluator's optimizer and schedule on the weights of a supernet, made when first needed: on the device they are on.

    Args:
        supernet: whose weights.
        evaluator: makes both.
        total_steps: of the schedule.
        gradient_clip_val: largest norm of all gradients of a step together; None takes the evaluator's.
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
        """Of the first group, now."""
        optimizer, _ = self._made
        return float(optimizer.optimizer.param_groups[0]["lr"])

    def step(self, loss: torch.Tensor, leaves: Mapping[str, nn.Parameter]) -> float:
        """Moves `leaves` against the gradient of `loss`, whose value it returns.

        Raises:
            StrategyError: it is not finite.
        """
        value = float(loss.detach())
        if not value < float("inf"):
            raise StrategyError(f"the training loss is {value}: lower the learning rate, or set gradient_clip_val")
        optimizer, schedule = self._made
        loss.backward()  # type: ignore[no-untyped-call]
        if self._clip is not None:
            nn.utils.clip_grad_norm_([leaf for leaf in leaves.values() if leaf.grad is not None], self._clip)
        optimizer.step(leaves)
        if schedule is not None:
            schedule.step()
        return value

    def state(self) -> dict[str, Any]:
        """Weights, the optimizer's state and the schedule's."""
        optimizer, schedule = self._made
        return {
            "weights": self._supernet.dump(),
            "optimizer": optimizer.dump(),
            "schedule": None if schedule is None else schedule.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state` was taken."""
        optimizer, schedule = self._made
        self._supernet.restore(state["weights"])
        optimizer.restore(state["optimizer"])
        if schedule is not None:
            schedule.load_state_dict(state["schedule"])


def train_network(supernet: Supernet, arch: Mapping[str, Any], evaluator: TrainingEvaluator, x: Any, target: Any) -> Any:
    """The training loss of one network, and the leaves that a step on it moves."""
    supernet.train()
    subnet = supernet.subnet(arch)
    return evaluator.loss(subnet.network(x), target), subnet.leaves
