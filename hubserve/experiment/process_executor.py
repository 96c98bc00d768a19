"""`ProcessExecutor`, which runs trials in separate processes of this machine; if one dies, only its trial fails."""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cloudpickle
import loky
import torch

from hubserve.errors import ExperimentError
from hubserve.host import cores

T = TypeVar("T")

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

_CHECK_SECONDS = 0.5
"""Number of seconds between two checks by a worker that the process that started it still exists."""


class ProcessExecutor(contextlib.AbstractContextManager["ProcessExecutor"]):
    """Runs functions in worker processes, each one function at a time; a worker that dies is replaced.

    Workers are new processes, not forks of this one, so CUDA works in them. Scripts need no `if __name__ == "__main__"`:
    classes and functions of scripts and notebooks are pickled by value. Workers end with this process, even if it is killed.

    Args:
        workers: Number of processes, at least 1; None is the number of cores that this process may use.
        threads: Number of threads that torch uses in each process, at least 1; None divides the cores among the processes.

    Raises:
        ExperimentError: A number is below 1.
    """

    shares_memory = False

    def __init__(self, workers: int | None = None, *, threads: int | None = None) -> None:
        usable = cores()
        self.workers = usable if workers is None else workers
        self.threads = max(1, usable // max(1, self.workers)) if threads is None else threads
        if self.workers < 1 or self.threads < 1:
            raise ExperimentError(f"workers = {self.workers}, threads = {self.threads}: both must be at least 1")
        self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._workers: list[_Worker] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> ProcessExecutor:
        self._folder = tempfile.TemporaryDirectory(prefix="hubserve-")
        self._workers = [_Worker(self.threads) for _ in range(self.workers)]
        self._free = queue.SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers:
            worker.end()
        if self._folder is not None:
            self._folder.cleanup()
        self._workers, self._folder = [], None

    def share(self, value: Any) -> Any:
        """Writes `value` to a file that each worker reads once, and returns a reference to it.

        Raises:
            ExperimentError: `value` cannot be pickled, or the executor is not started.
        """
        if self._folder is None:
            raise ExperimentError("the ProcessExecutor is not started: use it as `with ProcessExecutor() as executor`")
        with tempfile.NamedTemporaryFile(dir=self._folder.name, delete=False) as file:
            file.write(packed(value))
        return Shared(Path(file.name))

    def submit(self, function: Callable[..., T], /, *args: Any) -> Future[T]:
        """Waits for a free worker, begins `function(*args)` in it and returns a future of the result.

        The future raises the error of the function, or loky's TerminatedWorkerError if the worker dies.

        Raises:
            ExperimentError: The function or an argument cannot be pickled, or the executor is not started.
        """
        if not self._workers:
            raise ExperimentError("the ProcessExecutor is not started: use it as `with ProcessExecutor() as executor`")
        call = packed((function, args))
        worker = self._free.get()
        future = worker.submit(call)
        future.add_done_callback(lambda _: self._free.put(worker))
        return future


@dataclass(frozen=True)
class Shared:
    """A reference to a value in a file.

    Attributes:
        path: Path of the file; each value has its own.
    """

    path: Path


class _Worker:
    """One worker process; if it died, the next `submit` starts a new one."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = self._start()

    def _start(self) -> Any:
        return loky.ProcessPoolExecutor(
            max_workers=1,
            context=loky.backend.get_context("loky"),
            initializer=_begin,
            initargs=(self._threads, os.getpid()),
            env=dict.fromkeys(_THREAD_VARIABLES, str(self._threads)),
        )

    def submit(self, call: bytes) -> Future[Any]:
        try:
            return self._pool.submit(_run, call)
        except loky.process_executor.BrokenProcessPool:
            self.end()
            self._pool = self._start()
            return self._pool.submit(_run, call)

    def end(self) -> None:
        self._pool.shutdown(wait=True, kill_workers=True)


def packed(value: Any) -> bytes:
    """Returns `value` pickled by cloudpickle, including the code of classes and functions of scripts and notebooks.

    Raises:
        ExperimentError: `value` holds something that cannot be pickled.
    """
    try:
        return cloudpickle.dumps(value)
    except Exception as error:
        raise ExperimentError(
            f"{type(value).__name__} cannot be sent to another process: {type(error).__name__}: {error}. Open files, locks, "
            "generators and CUDA handles cannot; make them inside the evaluation, or use the InlineExecutor"
        ) from error


def _begin(threads: int, parent: int) -> None:
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """Waits until the process `parent` has ended, e.g. because it was killed, and then ends this process.

    Otherwise Loky's workers would wait for work forever, and a busy one would write into the folder of a trial that another
    process has begun again.
    """
    while os.getppid() == parent:
        time.sleep(_CHECK_SECONDS)
    os._exit(1)


def _run(call: bytes) -> Any:
    function, args = cloudpickle.loads(call)
    return function(*(_read(arg.path) if isinstance(arg, Shared) else arg for arg in args))


@functools.lru_cache(maxsize=8)
def _read(path: Path) -> Any:
    return cloudpickle.loads(path.read_bytes())
