"""Trains on several devices with Lightning Fabric: one process for each device, and gradients averaged over the processes."""

import contextlib
import importlib.util
import multiprocessing
import pickle
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from hubserve.errors import EvaluatorError
from hubserve.training.device import Devices, autocast_dtype, check_gpus, device_kind, precision_on
from hubserve.training.process_failures import ProcessFailures
from hubserve.training.settings import TrainingSettings

T = TypeVar("T")

RESULT = "result"
"""Name of the file in which the first process of a training leaves its result."""


def check_devices(settings: TrainingSettings) -> None:
    """Checks that this machine can train on the devices of the settings.

    Raises:
        EvaluatorError: Lightning Fabric is not installed and several devices are asked for, there are fewer GPUs than devices,
            or the settings ask for a GPU and there is none, or for "16-mixed" on the CPU.
    """
    kind = device_kind(settings.accelerator)
    autocast_dtype(settings.precision, torch.device(kind))
    if settings.n_devices == 1:
        return
    if importlib.util.find_spec("lightning_fabric") is None:
        raise EvaluatorError(f"devices = {settings.n_devices} needs Lightning Fabric: pip install 'hubserve[ddp]'")
    check_gpus(settings.n_devices, kind)


def run_together(settings: TrainingSettings, work: Callable[[Devices, nn.Module], T], model: nn.Module) -> T:
    """Runs `work(devices, model)` in `settings.devices` processes and returns the result of the first one.

    If one of the processes raises an error or is killed, all are ended; they also end with the process that called the function
    (on Linux), and if that gets `KeyboardInterrupt`. Under `torchrun` the processes run already, and the function returns the
    result of its own process in each of them.

    Args:
        settings: Settings whose `devices`, above 1, `accelerator` and `precision` are used.
        work: Function (devices, copy of `model`) -> result. It and its result must support pickle.
        model: Network; each process gets a copy of it.

    Raises:
        EvaluatorError: `check_devices` raised it, a process was killed, or `work` raised an error that is no `HubserveError`.
        HubserveError: `work` raised it in one of the processes; of several, that of the first one is raised.
        Exception: Under `torchrun`, any error that `work` raised in this process.
    """
    check_devices(settings)
    # Imported here because it is an extra, and training on one device does not use it.
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    from hubserve.training.local_processes import LocalProcesses

    kind = device_kind(settings.accelerator)
    precision: Any = precision_on(kind, settings.precision)

    def fabric_with(strategy: Any) -> Any:
        return Fabric(accelerator=kind, devices=settings.n_devices, strategy=strategy, precision=precision)

    fabric = fabric_with("ddp_spawn")
    # The processes of torchrun or of a cluster run already, and listen where these say.
    if not isinstance(fabric.strategy.cluster_environment, LightningEnvironment):
        result: T = fabric.launch(_in_process, work, model)
        return result
    with tempfile.TemporaryDirectory(prefix="hubserve-") as folder:
        failures = ProcessFailures(Path(folder))
        try:
            with _ended_processes():
                started = partial(_in_started_process, failures=failures, folder=Path(folder))
                fabric_with(LocalProcesses(Path(folder))).launch(started, work, model)
        except (ProcessExitedException, ProcessRaisedException) as ended:
            raise failures.cause(ended) from ended
        returned: T = pickle.loads((Path(folder) / RESULT).read_bytes())
    return returned


@contextlib.contextmanager
def _ended_processes() -> Iterator[None]:
    """Context manager that, if its block raises an error or KeyboardInterrupt, kills the processes which the block started."""
    before = set(multiprocessing.active_children())
    try:
        yield
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            if not process.daemon:  # Such are the workers of data loaders, which another thread may have started.
                process.kill()
                process.join()
        raise


def _in_process(fabric: Any, work: Callable[[Devices, nn.Module], T], model: nn.Module) -> T:
    return work(SeveralDevices(fabric), model)


def _in_started_process(
    fabric: Any, work: Callable[[Devices, nn.Module], Any], model: nn.Module, *, failures: ProcessFailures, folder: Path
) -> None:
    """Calls `work` in a process that `run_together` started, and records the error that it raises in `failures`.

    The first process writes its result to a file in `folder`. Lightning would read a returned one after the process has ended,
    and a process that returns more than the buffer of a pipe holds cannot end before.
    """
    try:
        result = work(SeveralDevices(fabric), model)
        if fabric.global_rank == 0:
            (folder / RESULT).write_bytes(pickle.dumps(result))
        # Threads of a group that still exists when the process ends abort it now and then.
        fabric.barrier()
        torch.distributed.destroy_process_group()
    except Exception as error:
        failures.record(fabric.global_rank, error)
        raise


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
            # A loss that is not finite is found by the loop, which says so.
            self._fabric.clip_gradients(model, optimizer, max_norm=clip, error_if_nonfinite=False)
        optimizer.step()

    def total(self, sums: torch.Tensor) -> torch.Tensor:
        return self._fabric.all_reduce(sums, reduce_op="sum")

    def copy_buffers_from_first(self, model: nn.Module) -> None:
        for buffer in model.buffers():
            buffer.copy_(self._fabric.broadcast(buffer.cpu()))

    def value_of_first(self, value: bool) -> bool:
        return self._fabric.broadcast(value)
