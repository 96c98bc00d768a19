"""`AwaitedRequest`: cancels the work for a request once nobody waits for its answer."""

import asyncio
from types import TracebackType

from starlette.requests import ClientDisconnect, Request

from hubserve.errors import LateAnswerError

WATCH_AFTER_SECONDS = 1.0
"""Age in seconds at which a request's connection begins to be watched. Faster requests do not pay for the task that watches."""

REPEAT_SECONDS = 0.1
"""Seconds before the connection is asked again, if the server sends another message than that the client has disconnected."""


class AwaitedRequest:
    """Async context manager that cancels its block if the client of a request disconnects, or after a time limit.

    The body of the request must have been read before. The connection is watched from `WATCH_AFTER_SECONDS` on.

    Args:
        request: The request.
        seconds: Time limit of the block in seconds.

    Raises:
        ClientDisconnect: The client has disconnected; raised at the end of the block.
        LateAnswerError: The block took longer than `seconds`; raised at the end of the block.
    """

    def __init__(self, request: Request, seconds: float) -> None:
        self._receive = request.receive
        self._seconds = seconds
        self._watcher: asyncio.Task[None] | None = None
        self._error: Exception | None = None

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        # A timer takes a microsecond, and a task thirty.
        self._timer = asyncio.get_running_loop().call_later(min(WATCH_AFTER_SECONDS, self._seconds), self._start_watching)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._error is not None and kind is asyncio.CancelledError:
            self._task.uncancel()
            raise self._error from error

    def _start_watching(self) -> None:
        """Starts the task that watches the connection."""
        self._watcher = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        """Waits until the client disconnects or the time is over, and then cancels the block."""
        try:
            async with asyncio.timeout(self._seconds - min(WATCH_AFTER_SECONDS, self._seconds)):
                while (await self._receive())["type"] != "http.disconnect":
                    await asyncio.sleep(REPEAT_SECONDS)
            self._error = ClientDisconnect()
        except TimeoutError:
            self._error = LateAnswerError(
                f"not classified within {self._seconds:g} s; ask again later, or with fewer or smaller images at once"
            )
        self._task.cancel()
