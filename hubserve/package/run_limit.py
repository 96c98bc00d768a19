"""Ends calls of ONNX Runtime that take too long, or that a user interrupts: a file may hold a loop of 2^62 rounds.

ONNX Runtime looks at the flag `RunOptions.terminate` between two nodes, those of a loop's body too. One thread sets it.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

LOOK_SECONDS = 0.5
"""Time between two looks at the calls in progress; a call ends at most so much later than its limit."""

INTERRUPT_SECONDS = 3.0
"""Time that code that cannot be interrupted gets after Ctrl-C, such as a single node that computes for hours."""


class RunOptions(Protocol):
    """Options of a call: onnxruntime.RunOptions.

    Attributes:
        terminate: Whether ONNX Runtime ends the call before its next node; set to True to end it.
    """

    terminate: bool


class _Watch:
    """The calls in progress that have a limit, and the thread that ends them."""

    def __init__(self) -> None:
        self._calls: dict[int, tuple[RunOptions, float]] = {}
        self._started = threading.Lock()

    def begin(self, options: RunOptions, seconds: float) -> None:
        # Operations on a dict are atomic: no lock for each call.
        self._calls[id(options)] = options, time.monotonic() + seconds
        if self._started.acquire(blocking=False):
            threading.Thread(target=self._run, name="run-limit", daemon=True).start()

    def end(self, options: RunOptions) -> None:
        self._calls.pop(id(options), None)

    def terminate(self, before: float) -> None:
        """Ends the calls whose time limit lies before `before`, a time of `time.monotonic()` in seconds."""
        for options, end in list(self._calls.values()):
            if end < before:
                options.terminate = True

    def _run(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            self.terminate(time.monotonic())


_watch = _Watch()


class RunLimit:
    """A block in which one call of ONNX Runtime runs; its options say afterwards whether it was ended.

    Args:
        options: Options of the call.
        seconds: Time after which it is ended.
    """

    def __init__(self, options: RunOptions, seconds: float) -> None:
        self._options = options
        self._seconds = seconds

    def __enter__(self) -> None:
        _watch.begin(self._options, self._seconds)

    def __exit__(self, *_: object) -> None:
        _watch.end(self._options)


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside, Ctrl-C ends calls of ONNX Runtime; without it Python raises KeyboardInterrupt once the call returns by itself.

    Where even that does not help within 3 s, the process exits with 130. Outside the main thread this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    over = threading.Event()
    threading.Thread(target=_interrupt, args=(reader, over), name="interrupt", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        os.close(writer)


def _interrupt(reader: int, over: threading.Event) -> None:
    """Reads the numbers of signals, which Python writes at once, until the other end is closed."""
    while number := os.read(reader, 1):
        if number[0] == signal.SIGINT:
            _watch.terminate(float("inf"))
            if not over.wait(INTERRUPT_SECONDS):
                os._exit(130)
    os.close(reader)
