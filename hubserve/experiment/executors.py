"""Executors run the evaluations of trials: what an experiment asks of one, and the one that runs them in this thread."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar, runtime_checkable

T = TypeVar("T")


@runtime_checkable
class Executor(Protocol):
    """Runs functions, in this process or another, and returns futures, as executors of `concurrent.futures` do.

    Attributes:
        workers: Number of functions that run at the same time, at least 1.
        shares_memory: Whether the functions run in this process.
    """

    workers: int
    shares_memory: bool

    def share(self, value: Any) -> Any:
        """A reference to `value` for use as an argument of `submit`, so that it is sent once, however many functions get it."""

    def submit(self, function: Callable[..., T], /, *args: Any) -> Future[T]:
        """Submits `function(*args)`; the future returns its result or raises its error, or raises because its process died."""

    def __enter__(self) -> Executor:
        """Starts the workers; an experiment does so for each run."""

    def __exit__(self, *exception: object) -> None:
        """Ends the workers without waiting for functions that run."""


class InlineExecutor(contextlib.AbstractContextManager["InlineExecutor"]):
    """Runs each function at once, in the thread that calls `submit`."""

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
        """Does nothing, since nothing was started."""
