"""`ProcessGroup` and `start_group`: processes of this machine that train the same weights, each on its part of the data."""

import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing import get_context, parent_process
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from hubserve.errors import EvaluatorError
from hubserve.training.device import check_gpus
from hubserve.training.loopback_interface import use_loopback_only

PATIENCE = timedelta(minutes=10)
"""Time for which a process waits for the others before it ends with an error."""


class ProcessGroup:
    """The processes that train together; this process is the one with number `rank`.

    Args:
        rank: Number of this process, from 0.
        size: Number of processes; with 1, nothing is exchanged.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @property
    def part(self) -> tuple[int, int]:
        """Pair (rank, size), as loaders accept it."""
        return self.rank, self.size

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replaces each tensor by its mean over all processes, in place; all pass tensors of the same shapes and order."""
        found = list(tensors)
        if self.size == 1 or not found:
            return
        # One exchange for all of them, since each takes a time of its own.
        flat = torch.cat([tensor.flatten() for tensor in found])
        distributed.all_reduce(flat)
        means = (flat / self.size).split([tensor.numel() for tensor in found])  # type: ignore[no-untyped-call]
        for tensor, mean in zip(found, means, strict=True):
            tensor.copy_(mean.view_as(tensor))

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Replaces each tensor by that of the first process, in place; all pass tensors of the same shapes and order."""
        if self.size > 1:
            for tensor in tensors:
                distributed.broadcast(tensor.detach(), src=0)

    def value_of_first(self, value: bool) -> bool:
        """Returns, in every process, the `value` that the first process passed."""
        if self.size == 1:
            return value
        found = [value]
        distributed.broadcast_object_list(found, src=0)
        return bool(found[0])


@contextmanager
def start_group(
    size: int, device: torch.device, work: Callable[..., Any], *arguments: Any
) -> Iterator[tuple[ProcessGroup, torch.device]]:
    """Context manager that starts a group of `size` processes, of which this one is the first; yields it and its device.

    The others call `work(group, device, *arguments)`, which must take part in all that this process exchanges; they end when it
    returns, or when this process ends. With size 1, no process is started. They find each other by a file, and listen on the
    loopback interface only.

    Args:
        size: Number of processes, at least 1.
        device: "cpu" for all processes, or "cuda" for the GPU with the number of each process.
        work: Function at the top level of a module.
        arguments: Its further arguments; they must support pickle.

    Raises:
        EvaluatorError: There are fewer GPUs than processes (not checked for one process), an argument does not support pickle,
            or a process ended early.
    """
    if size == 1:
        yield ProcessGroup(), device
        return
    check_gpus(size, device.type)
    with tempfile.TemporaryDirectory(prefix="hubserve-") as folder:
        others = _start_others(size, device, Path(folder) / "processes", work, arguments)
        try:
            yield _join(0, size, device, Path(folder) / "processes")
            distributed.barrier()
            for other in others:
                other.join(timeout=60)
        except RuntimeError as error:
            for other in others:
                other.join(timeout=1)  # A connection closes a moment before its process has ended.
            ended = [(rank, other.exitcode) for rank, other in enumerate(others, 1) if other.exitcode]
            if not ended:
                raise
            rank, code = ended[0]
            raise EvaluatorError(f"process {rank} of {size} ended with exit code {code}; its error is above") from error
        finally:
            for other in others:
                other.kill()
                other.join()
            _leave()


def _start_others(
    size: int, device: torch.device, file: Path, work: Callable[..., Any], arguments: tuple[Any, ...]
) -> list[SpawnProcess]:
    context = get_context("spawn")
    started: list[SpawnProcess] = []
    for rank in range(1, size):
        process = context.Process(target=_follow, args=(rank, size, device, file, work, arguments), daemon=True)
        try:
            process.start()
        except Exception as error:  # pickle raises errors of several types
            for other in started:
                other.kill()
            raise EvaluatorError(
                f"devices = {size}: what is trained cannot be sent to other processes: {error}; a function must stand at the "
                "top level of a module"
            ) from error
        started.append(process)
    return started


def _follow(
    rank: int, size: int, device: torch.device, file: Path, work: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(max(1, torch.get_num_threads() // size))
    group, own = _join(rank, size, device, file)
    work(group, own, *arguments)
    distributed.barrier()
    _leave()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _join(rank: int, size: int, device: torch.device, file: Path) -> tuple[ProcessGroup, torch.device]:
    use_loopback_only()
    own = torch.device("cuda", rank) if device.type == "cuda" else device
    if own.type == "cuda":
        torch.cuda.set_device(own)
    backend = "nccl" if own.type == "cuda" else "gloo"
    distributed.init_process_group(backend, init_method=file.as_uri(), rank=rank, world_size=size, timeout=PATIENCE)
    return ProcessGroup(rank, size), own


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
