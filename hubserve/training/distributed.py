"""Training on several devices at once, by Lightning Fabric: one process each, gradients averaged, one result."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from hubserve.errors import EvaluatorError, HubserveError
from hubserve.training.device import Runtime, device_kind
from hubserve.training.settings import PRECISIONS, TrainerSettings

T = TypeVar("T")


def run_together(settings: TrainerSettings, work: Callable[[Runtime, nn.Module], T], model: nn.Module) -> T:
    """What `work(runtime, model)` gives in the first of `settings.devices` processes; each has a copy of the model.

    Under `torchrun` the processes are there already, and each of them gets its own result, which is the same in all.

    Raises:
        EvaluatorError: Lightning Fabric is not installed.
        HubserveError: as `work` does.
    """
    try:
        # Not above: training on one device needs nothing of it.
        from lightning_fabric import Fabric
    except ImportError as error:
        raise EvaluatorError(f"devices = {settings.n_devices} needs Lightning Fabric: pip install 'hubserve[ddp]'") from error
    fabric: Any = Fabric(
        accelerator=device_kind(settings.accelerator),
        devices=settings.n_devices,
        strategy="ddp_spawn",
        precision=_precision(settings),
    )
    result: T
    result, failure = fabric.launch(_in_process, work, model)
    if failure is not None:
        raise failure
    return result


def _in_process(
    fabric: Any, work: Callable[[Runtime, nn.Module], T], model: nn.Module
) -> tuple[T | None, HubserveError | None]:
    """Our own errors come back as values: across processes others arrive as text alone."""
    try:
        return work(SeveralDevices(fabric), model), None
    except HubserveError as error:
        return None, error


def _precision(settings: TrainerSettings) -> Any:
    name = PRECISIONS[str(settings.precision)]
    if name == "auto":
        return "16-mixed" if device_kind(settings.accelerator) == "cuda" else "32-true"
    return name


class SeveralDevices:
    """One of the processes that train together; see Runtime.

    Args:
        fabric: launched.
    """

    def __init__(self, fabric: Any) -> None:
        self._fabric = fabric
        self.device: torch.device = fabric.device
        self.part = (fabric.global_rank, fabric.world_size)

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        wrapped, prepared = self._fabric.setup(model, optimizer)
        return wrapped, prepared

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        return self._fabric.autocast()

    def backward(self, loss: torch.Tensor) -> None:
        self._fabric.backward(loss)

    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer, clip: float | None) -> None:
        if clip is not None:
            self._fabric.clip_gradients(model, optimizer, max_norm=clip)
        optimizer.step()

    def total(self, sums: torch.Tensor) -> torch.Tensor:
        return self._fabric.all_reduce(sums, reduce_op="sum")

    def agree(self, model: nn.Module) -> None:
        for buffer in model.buffers():
            buffer.copy_(self._fabric.broadcast(buffer.cpu()))

    def first_says(self, value: bool) -> bool:
        return self._fabric.broadcast(value)
