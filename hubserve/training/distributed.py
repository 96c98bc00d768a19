"""Trains on several devices with Lightning Fabric: one process for each device, and gradients averaged over the processes."""

import contextlib
import multiprocessing
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from hubserve.errors import EvaluatorError, HubserveError
from hubserve.training.device import Devices, device_kind, precision_on
from hubserve.training.settings import TrainingSettings

T = TypeVar("T")


def run_together(settings: TrainingSettings, work: Callable[[Devices, nn.Module], T], model: nn.Module) -> T:
    """Runs `work(devices, model)` in `settings.devices` processes and returns the result of the first one.

    Under `torchrun` the processes run already, and the function returns the result of its own process in each of them.

    Args:
        settings: Settings whose `devices`, `accelerator` and `precision` are used.
        work: Function (devices, copy of `model`) -> result. It and its result must support pickle.
        model: Network; each process gets a copy of it.

    Raises:
        EvaluatorError: Lightning Fabric is not installed, or the settings ask for a GPU and there is none.
        HubserveError: `work` raised it in the first process.
    """
    try:
        # Imported here because it is an extra, and training on one device does not use it.
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments.lightning import LightningEnvironment

        from hubserve.training.local_processes import LocalProcesses
    except ImportError as error:
        raise EvaluatorError(f"devices = {settings.n_devices} needs Lightning Fabric: pip install 'hubserve[ddp]'") from error
    kind = device_kind(settings.accelerator)
    precision: Any = precision_on(kind, settings.precision)

    def fabric_with(strategy: Any) -> Any:
        return Fabric(accelerator=kind, devices=settings.n_devices, strategy=strategy, precision=precision)

    with tempfile.TemporaryDirectory(prefix="hubserve-") as folder:
        fabric = fabric_with("ddp_spawn")
        # The processes of torchrun or of a cluster run already, and listen where these say.
        if isinstance(fabric.strategy.cluster_environment, LightningEnvironment):
            fabric = fabric_with(LocalProcesses(Path(folder)))
        result: T
        result, failure = fabric.launch(_in_process, work, model)
    if failure is not None:
        raise failure
    return result


def _in_process(
    fabric: Any, work: Callable[[Devices, nn.Module], T], model: nn.Module
) -> tuple[T | None, HubserveError | None]:
    """Calls `work` in a process of the group; returns its result and None, or None and the HubserveError that it raised.

    The error is returned because of a raised exception only the text would reach the parent process.
    """
    try:
        result = work(SeveralDevices(fabric), model)
    except HubserveError as error:
        return None, error
    if multiprocessing.parent_process() is not None:
        # We started this process, and it ends now: threads of a group that still exists abort it now and then.
        fabric.barrier()
        torch.distributed.destroy_process_group()
    return result, None


class SeveralDevices:
    """An implementation of `Devices` for a training in several processes; each process has one.

    Args:
        fabric: The launched `Fabric` of Lightning in this process.
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

    def copy_buffers_from_first(self, model: nn.Module) -> None:
        for buffer in model.buffers():
            buffer.copy_(self._fabric.broadcast(buffer.cpu()))

    def value_of_first(self, value: bool) -> bool:
        return self._fabric.broadcast(value)
