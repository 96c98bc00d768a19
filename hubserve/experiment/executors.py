"""`Executor`, the interface of what runs the evaluations of trials, and `InlineExecutor`, which uses this thread."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future
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
        """Returns a reference to `value` for use as an argument of `submit`; `value` is then sent once to each worker."""

    def submit(self, function: Callable[..., T], /, *args: Any) -> Future[T]:
        """Submits `function(*args)` and returns a future of its result.

        The future raises the error of the function, or an error if the process of the function died.
        """

    def __enter__(self) -> Executor:
        """Starts the workers and returns the executor; an experiment calls it for each run."""

    def __exit__(self, *exception: object) -> None:
        """Stops the workers without waiting for functions that are running."""


class InlineExecutor(contextlib.AbstractContextManager["InlineExecutor"]):
    """Runs each function immediately, in the thread that calls `submit`."""

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
