"""Ends calls of ONNX Runtime that exceed a time limit (`RunLimit`), or that a user interrupts (`interruptible`).

A model may hold a loop of 2^62 rounds. ONNX Runtime checks the flag `RunOptions.terminate` before each node, including the
nodes in the body of a loop. A background thread of this module sets the flag.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

LOOK_SECONDS = 0.5
"""Time in seconds between two checks of the calls in progress; the flag of a call is set at most this long after its limit."""

INTERRUPT_SECONDS = 3.0
"""Time in seconds after Ctrl-C after which `interruptible` ends the process, if its block has not ended by then."""


class RunOptions(Protocol):
    """The interface of `onnxruntime.RunOptions`, the options of one call, that this module uses.

    Attributes:
        terminate: Flag; if it is True, ONNX Runtime ends the call before its next node.
    """

    terminate: bool


class _Watch:
    """The calls in progress that have a time limit, and the thread that ends them after it."""

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
    """Context manager that ends the call of ONNX Runtime in its block after a time limit.

    `options.terminate` is set at most `LOOK_SECONDS` after the limit. The call then raises an exception of ONNX Runtime before
    its next node.

    Args:
        options: Options of the call; use an object of its own for each call.
        seconds: Time limit in seconds.
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
    """Context manager in whose block Ctrl-C ends the calls of ONNX Runtime that have a `RunLimit`.

    Without it, Python raises KeyboardInterrupt only after such a call has returned by itself. If the block has not ended 3 s
    after Ctrl-C, the process exits with code 130. Outside the main thread the context manager does nothing.
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
    """Ends all calls in progress at SIGINT, and the process if the block is still not over `INTERRUPT_SECONDS` later.

    Args:
        reader: File descriptor of a pipe to which Python writes the number of each signal when it arrives. The function returns
            when the other end of the pipe is closed.
        over: Event that is set when the block ends.
    """
    while number := os.read(reader, 1):
        if number[0] == signal.SIGINT:
            _watch.terminate(float("inf"))
            if not over.wait(INTERRUPT_SECONDS):
                os._exit(130)
    os.close(reader)
