"""`GracefulShutdown`: delays the shutdown of the server after SIGTERM, so that no request is lost.

When uvicorn gets the signal, it answers the requests that it has received and closes idle connections. A client that sends its
next request over such a connection at that moment gets no answer. uvicorn therefore gets the signal some seconds later. Until
then each answer has the header `Connection: close`, so that clients open new connections, perhaps to another server, and the
server reports that it is not ready.
"""

import asyncio
import signal
import threading
from types import FrameType


class GracefulShutdown:
    """Passes the first SIGTERM or SIGINT to the server's own signal handler only after a delay, any further one at once.

    Args:
        seconds: Length of the delay in seconds.

    Attributes:
        started: True once a signal was received.
    """

    def __init__(self, seconds: float) -> None:
        self.started = False
        self._seconds = seconds

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Replaces the signal handlers that the server has installed. Outside the main thread it does nothing.

        Args:
            loop: Running event loop of the server, in which the delayed handler is called.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            self._wrap(number, loop)

    def _wrap(self, number: signal.Signals, loop: asyncio.AbstractEventLoop) -> None:
        """Replaces the handler of one signal, if a Python function handles it."""
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
