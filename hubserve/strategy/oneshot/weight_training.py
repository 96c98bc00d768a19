"""Trains the shared weights of a supernet, one network or several in each step."""

import contextlib
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from hubserve.errors import StrategyError
from hubserve.space import Arch
from hubserve.supernet import SharedOptimizer, Supernet
from hubserve.supernet.shared_average import SharedAverage
from hubserve.training.device import autocast_dtype
from hubserve.training.evaluator import TrainingEvaluator
from hubserve.training.process_group import ProcessGroup
from hubserve.training.supervised import set_drop_path


@dataclass(frozen=True)
class _Made:
    """What is made once the weights are on their device; `average` and `schedule` are None if the evaluator asks for none."""

    optimizer: SharedOptimizer
    schedule: torch.optim.lr_scheduler.LRScheduler | None
    average: SharedAverage | None
    dtype: torch.dtype | None
    scaler: torch.amp.GradScaler


class WeightTraining:
    """Takes steps of the evaluator's optimizer and learning rate schedule on the weights of a supernet.

    The evaluator's gradient clipping, mixed precision, moving average and drop path are followed, too. Optimizer, schedule and
    average are created when they are first used, since the weights must be on their device by then.

    Args:
        supernet: The supernet whose weights are trained.
        evaluator: Creates the optimizer and the schedule.
        total_steps: Number of steps of the whole schedule.
        gradient_clip_val: Largest norm of all gradients of a step together; 0 does not clip, None uses the evaluator's.

    Attributes:
        group: The processes that train together; gradients are averaged over them. All must train the same networks.
    """

    def __init__(
        self, supernet: Supernet, evaluator: TrainingEvaluator, *, total_steps: int, gradient_clip_val: float | None = None
    ) -> None:
        self._supernet = supernet
        self._evaluator = evaluator
        self._total_steps = total_steps
        self._asked = evaluator.shared_training()
        self._clip = self._asked.gradient_clip_val if gradient_clip_val is None else gradient_clip_val
        self._drop_path = 0.0
        self.group = ProcessGroup()
        self._agreed = -1

    @cached_property
    def _made(self) -> _Made:
        optimizer = self._evaluator.make_optimizer(iter(self._supernet.tensors.parameters()))
        schedule = self._evaluator.make_schedule(optimizer, self._total_steps)
        decay, device = self._asked.ema_decay, next(self._supernet.tensors.parameters()).device
        dtype = autocast_dtype(self._asked.precision, device)
        return _Made(
            SharedOptimizer(self._supernet.tensors, optimizer),
            schedule,
            None if decay is None else SharedAverage(self._supernet.tensors, decay),
            dtype,
            torch.amp.GradScaler(device.type, enabled=dtype is torch.float16),
        )

    @property
    def learning_rate(self) -> float:
        """The present learning rate of the optimizer's first parameter group."""
        return float(self._made.optimizer.optimizer.param_groups[0]["lr"])

    def begin(self, epoch: int) -> None:
        """Sets the probability of drop path for an epoch, counted from 0; as in `TrainingSettings`, it rises linearly."""
        self._drop_path = self._asked.drop_path_prob * epoch / self._evaluator.max_epochs

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Returns a context manager in which forward passes run in the precision of the evaluator.

        Raises:
            EvaluatorError: The precision is "16-mixed" and the weights are on the CPU.
        """
        dtype = self._made.dtype
        if dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(next(self._supernet.tensors.parameters()).device.type, dtype=dtype)

    def set_drop_path(self, network: nn.Module) -> None:
        """Sets the drop path of a network to that of the epoch, if the evaluator asks for some.

        Raises:
            EvaluatorError: The network has no drop path layer.
        """
        if self._asked.drop_path_prob > 0:
            set_drop_path(network, self._drop_path)

    def network_loss(self, arch: Arch, x: Any, target: Any) -> tuple[torch.Tensor, dict[str, nn.Parameter]]:
        """Returns (loss, leaves): the loss of the network of `arch` on one batch, in train mode, and its parameters by key.

        Raises:
            ArchError: `arch` is not in the space.
            EvaluatorError: The evaluator asks for drop path that the network does not have, or for a precision that its device
                does not support.
        """
        self._supernet.train()
        subnet = self._supernet.subnet(arch)
        self.set_drop_path(subnet.network)
        with self.autocast():
            return self._evaluator.loss(subnet.network(x), target), subnet.leaves

    def step(self, loss: torch.Tensor, leaves: Mapping[str, nn.Parameter]) -> float:
        """Takes one step of the optimizer and of the schedule; returns the value of `loss`.

        Args:
            loss: The training loss of one network, a scalar on which `backward` is called.
            leaves: Maps keys to the parameters of that network (`Subnet.leaves`).

        Raises:
            StrategyError: The loss is not finite.
        """
        value = self.checked(loss)
        self.backward(loss)
        self.update(leaves)
        return value

    def checked(self, loss: torch.Tensor) -> float:
        """Returns the value of a training loss, averaged over the processes.

        Raises:
            StrategyError: It is infinite or NaN.
        """
        mean = loss.detach().clone()
        self.group.average([mean])
        value = float(mean)
        if not math.isfinite(value):
            raise StrategyError(f"the training loss is {value}: lower the learning rate, or set gradient_clip_val")
        return value

    def backward(self, loss: torch.Tensor) -> None:
        """Computes the gradients of `loss`, scaled if the precision needs it."""
        self._made.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def update(self, leaves: Mapping[str, nn.Parameter]) -> None:
        """Takes one step of the optimizer, on those of `leaves` that have gradients, of the schedule and of the average."""
        self._step_optimizer(leaves)
        self.end_batch()

    def end_batch(self) -> None:
        """Takes one step of the schedule of the learning rate and of the average of the weights."""
        made = self._made
        if made.schedule is not None:
            made.schedule.step()
        if made.average is not None:
            made.average.update()

    def step_shared(self) -> None:
        """Takes one step of the optimizer, on all shared tensors that have a gradient, and clears their gradients."""
        self._step_optimizer(dict(self._supernet.tensors.named_parameters()))

    def finish(self) -> None:
        """Gives the supernet the averaged weights, if the evaluator asks for an average."""
        if self._made.average is not None:
            self._made.average.copy_to_tensors()

    def _step_optimizer(self, leaves: Mapping[str, nn.Parameter]) -> None:
        self._exchange(leaves)
        self._made.optimizer.step(leaves, self._take)

    def _exchange(self, leaves: Mapping[str, nn.Parameter]) -> None:
        """Averages gradients over the processes; after tensors were made or have grown, all get the first one's values."""
        if self.group.size > 1 and self._agreed != self._supernet.version:
            self.group.copy_from_first(self._supernet.state_dict().values())
            self._agreed = self._supernet.version
        self.group.average(leaf.grad for leaf in leaves.values() if leaf.grad is not None)

    def _take(self, optimizer: torch.optim.Optimizer) -> None:
        scaler = self._made.scaler
        if self._clip:
            scaler.unscale_(optimizer)
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(parameters, self._clip)
        scaler.step(optimizer)
        scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the weights, the optimizer, the schedule and the average. Nothing is copied."""
        made = self._made
        state = {
            "weights": self._supernet.state_dict(),
            "optimizer": made.optimizer.state_dict(),
            "schedule": None if made.schedule is None else made.schedule.state_dict(),
        }
        average = {} if made.average is None else {"average": made.average.state_dict()}
        scaler = {"scaler": made.scaler.state_dict()} if made.scaler.is_enabled() else {}
        return state | average | scaler

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores a state that `state_dict` returned; states of commit 4304603 and earlier, with other keys, are accepted.

        Args:
            state_dict: The state. It may have the key "total_steps", the number of steps of the schedule that it belongs to; if
                it is another than that of this training, the schedule of this training is brought to the same step.
        """
        made = self._made
        self._supernet.load_state_dict(_with_torch_keys(state_dict["weights"]))
        if made.schedule is None:
            made.optimizer.load_state_dict(state_dict["optimizer"])
        elif state_dict.get("total_steps", self._total_steps) == self._total_steps:
            made.optimizer.load_state_dict(state_dict["optimizer"])
            made.schedule.load_state_dict(state_dict["schedule"])
        else:
            self._load_for_other_schedule(state_dict["optimizer"], int(state_dict["schedule"]["last_epoch"]))
        if made.average is not None:
            made.average.load_state_dict(state_dict["average"])
        if made.scaler.is_enabled():
            made.scaler.load_state_dict(state_dict["scaler"])

    def _load_for_other_schedule(self, optimizer: Mapping[str, Any], steps: int) -> None:
        """Restores the state of the optimizer, with the settings that the schedule of this training has after `steps` steps."""
        made = self._made
        assert made.schedule is not None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step", category=UserWarning)
            for _ in range(steps):
                made.schedule.step()
        groups = made.optimizer.optimizer.param_groups
        settings = [{name: value for name, value in group.items() if name != "params"} for group in groups]
        made.optimizer.load_state_dict(optimizer)
        for group, own in zip(made.optimizer.optimizer.param_groups, settings, strict=True):
            group.update(own)


def _with_torch_keys(weights: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the supernet's state dict stored in a checkpoint of any version.

    Commit 4304603 and earlier ones stored {"parameters": ..., "buffers": ...} in place of the state dict.
    """
    if weights.keys() != {"parameters", "buffers"}:
        return weights
    return {f"tensors.{key}": tensor for part in weights.values() for key, tensor in part.items()}
