"""SIGTERM without a lost request.

uvicorn answers what it has and closes what is idle; a client that sends its next request over a kept connection at that moment
gets no answer. So before uvicorn hears of the signal, every answer asks its client to connect anew the next time, elsewhere:
`Connection: close`, and readiness is gone.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from types import FrameType


class GracefulShutdown:
    """Stands between the first SIGTERM or SIGINT and the server's own handler.

    Attributes:
        started: whether the signal came.
    """

    def __init__(self, seconds: float) -> None:
        self.started = False
        self._seconds = seconds

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Takes the place of the handlers that the server installed; outside the main thread there are none."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            self._wrap(number, loop)

    def _wrap(self, number: signal.Signals, loop: asyncio.AbstractEventLoop) -> None:
        server = signal.getsignal(number)
        if not callable(server):
            return

        def begin(signum: int, frame: FrameType | None) -> None:
            if self.started:
                server(signum, frame)
                return
            self.started = True
            loop.call_soon_threadsafe(loop.call_later, self._seconds, server, signum, None)

        signal.signal(number, begin)
