"""`Executor`, the interface of what runs the evaluations of trials, and `InlineExecutor`, which uses this thread.

`ClusterExecutor` is the interface of executors that reach other machines.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

T = TypeVar("T")


@runtime_checkable
class Executor(Protocol):
    """Interface of objects that run functions, in this process or another, and return futures as `concurrent.futures` does.

    Attributes:
        workers: Number of functions that run at the same time, at least 1.
        shares_memory: True if the functions run in this process.
    """

    workers: int
    shares_memory: bool

    def share(self, value: Any) -> Any:
        """Returns a reference to `value` for use as an argument of `submit`; `value` is then sent once to each worker.

        Raises ExperimentError if `value` cannot be sent to another process.
        """

    def submit(self, function: Callable[..., T], /, *args: Any) -> Future[T]:
        """Submits `function(*args)` and returns a future of its result; it may wait until a worker is free.

        The future raises the error of the function, or an error if the process of the function died. `submit` itself raises
        ExperimentError if the function cannot be sent to another process.
        """

    def __enter__(self) -> Executor:
        """Starts the workers and returns the executor; an experiment calls it for each run."""

    def __exit__(self, *exception: object) -> None:
        """Stops the workers that `__enter__` started, without waiting for functions that are running."""


@runtime_checkable
class ClusterExecutor(Executor, Protocol):
    """Interface of executors whose functions may run on other machines, which may not have the files of this one.

    The files of a trial then come back to this machine with its outcome, see `hubserve.experiment.returned_files`.

    Attributes:
        other_machines: True if functions may run on another machine; valid once the executor is started.
    """

    other_machines: bool

    def machines_without(self, paths: Sequence[Path]) -> dict[str, list[Path]]:
        """Returns which of the paths a machine of the cluster lacks, by the name of the machine, for those that lack any."""


def reaches_other_machines(executor: Executor) -> bool:
    """Returns whether functions of a started executor may run on another machine than this one."""
    return isinstance(executor, ClusterExecutor) and executor.other_machines


def described(missing: Mapping[str, Sequence[Path]]) -> str:
    """Returns a clause that says which machines lack which paths, from what `machines_without` returned."""
    return "; ".join(f"machine {name} has no {', '.join(map(str, paths))}" for name, paths in missing.items())


class InlineExecutor(contextlib.AbstractContextManager["InlineExecutor"]):
    """Runs each function immediately, in the thread that calls `submit`; the future that it returns is done.

    KeyboardInterrupt, and all else that is no `Exception`, is raised by `submit` and not by the future.
    """

    workers = 1
    shares_memory = True

    def share(self, value: Any) -> Any:
        return value

    def submit(self, function: Callable[..., T], /, *args: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def __exit__(self, *exception: object) -> None:
        """Does nothing, since no workers were started."""
