"""Shuts the server down after SIGTERM without losing a request.

uvicorn answers the requests that it has and closes idle connections; a client that sends its next request over a kept
connection at that moment gets no answer. So uvicorn gets the signal some seconds later. Until then every answer has the header
`Connection: close`, so that clients connect anew, elsewhere, and the server reports that it is not ready.
"""

import asyncio
import signal
import threading
from types import FrameType


class GracefulShutdown:
    """Delays the first SIGTERM or SIGINT before it reaches the server's own handler.

    Args:
        seconds: Length of the delay.

    Attributes:
        started: Whether the signal was received.
    """

    def __init__(self, seconds: float) -> None:
        self.started = False
        self._seconds = seconds

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Replaces the signal handlers that the server installed. Outside the main thread there are none."""
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
