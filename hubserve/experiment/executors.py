"""Where evaluations run: anything with `submit` that gives a future, and the one that needs nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar, runtime_checkable

T = TypeVar("T")


@runtime_checkable
class Executor(Protocol):
    """Runs functions, somewhere, some of them at once.

    Attributes:
        workers: functions that run at the same time.
        shares_memory: whether they run in this process.
    """

    workers: int
    shares_memory: bool

    def share(self, value: Any) -> Any:
        """A stand-in for `value` as an argument of `submit`: it is sent once, however many functions get it."""
        ...

    def submit(self, function: Callable[..., T], /, *args: Any) -> Future[T]:
        """Runs `function(*args)`; a lost worker is an exception of the future."""
        ...

    def __enter__(self) -> Executor:
        """Starts what is needed; an experiment enters for each run."""
        ...

    def __exit__(self, *exception: object) -> None:
        """Ends what was started; functions under way are not waited for."""
        ...


class InlineExecutor(contextlib.AbstractContextManager["InlineExecutor"]):
    """Runs each function at once, in this thread, so that the order of everything is that of the code."""

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
        """Nothing was started."""
