"""Ends an evaluation that takes too long: by an exception in it or, if it does not return to Python, with its process."""

import faulthandler
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hubserve.errors import ExperimentError

GRACE_SECONDS = 5.0
"""Number of seconds after the limit in which an evaluation may react to the exception, before its process is ended."""

REPEAT_SECONDS = 1.0
"""Number of seconds after which the exception is raised again, if the evaluation caught it and goes on."""

TIME_LIMIT_FILE = __file__
"""File name of the frames of this module in tracebacks."""


class TrialTimeout(BaseException):
    """Raised in an evaluation that has taken longer than its limit; `except Exception` in the evaluation does not catch it."""


class _Limit:
    """The limit of the evaluation that runs: whether it is reached, and whether the exception must wait."""

    def __init__(self) -> None:
        self.shields = 0
        self.waiting = False
        self.over = False

    def reached(self, number: int, frame: FrameType | None) -> None:
        if self.over:
            return
        if self.shields:
            self.waiting = True
        else:
            raise TrialTimeout


_limits: list[_Limit] = []
"""The limit of the evaluation that runs in this process; empty if none has one."""


@contextmanager
def time_limit(seconds: float | None, *, own_process: bool) -> Iterator[None]:
    """Context manager that raises `TrialTimeout` in its block after `seconds`, and again each second until the block ends.

    The exception interrupts Python code and calls that wait, such as `time.sleep` or the wait for a lock. Native code that does
    not return to Python is not interrupted. If `own_process` is True, the process is then ended `GRACE_SECONDS` later; before,
    the stacks of its threads are written to the standard error.

    Args:
        seconds: Limit in seconds, above 0; None sets no limit.
        own_process: Whether the process exists only to run evaluations, so that it may be ended.

    Raises:
        TrialTimeout: The limit was reached.
        ExperimentError: There is a limit and this is not the main thread, in which alone signals raise exceptions.
    """
    if seconds is None:
        yield
        return
    check_main_thread()
    limit = _Limit()
    began = time.monotonic()
    handler_before = signal.signal(signal.SIGALRM, limit.reached)
    timer_before = signal.setitimer(signal.ITIMER_REAL, seconds, REPEAT_SECONDS)
    _limits.append(limit)
    if own_process:
        # Its thread is native and needs no lock of the interpreter.
        faulthandler.dump_traceback_later(seconds + GRACE_SECONDS, exit=True, file=2)
    try:
        try:
            yield
        finally:
            limit.over = True
    finally:
        limit.over = True
        if own_process:
            faulthandler.cancel_dump_traceback_later()
        _limits.remove(limit)
        _restore_timer(timer_before, time.monotonic() - began)
        signal.signal(signal.SIGALRM, handler_before)


def _restore_timer(before: tuple[float, float], passed: float) -> None:
    """Sets the timer to what it was before the block: (seconds left at that time, interval), of which `passed` have passed."""
    left, interval = before
    signal.setitimer(signal.ITIMER_REAL, max(left - passed, 0.001) if left else 0.0, interval)


@contextmanager
def not_interrupted() -> Iterator[None]:
    """Context manager whose block is not interrupted by a time limit; one that is reached in it raises at the end of the block.

    Raises:
        TrialTimeout: The limit was reached in the block.
    """
    limit = _limits[-1] if _limits else None
    if limit is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    limit.shields += 1
    try:
        yield
    finally:
        limit.shields -= 1
    if limit.waiting and not limit.shields:
        limit.waiting = False
        raise TrialTimeout


def check_main_thread() -> None:
    """Raises ExperimentError if this is not the main thread of the process, where evaluations cannot be interrupted."""
    if threading.current_thread() is not threading.main_thread():
        raise ExperimentError(
            "max_trial_seconds: a trial can be interrupted only in the main thread of a process; call run() there, or give "
            "executor=ProcessExecutor(1)"
        )
