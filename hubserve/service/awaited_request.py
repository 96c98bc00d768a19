"""Ends the work for a request that nobody waits for any more: its client has disconnected, or its time is over."""

import asyncio
from types import TracebackType

from starlette.requests import ClientDisconnect, Request

from hubserve.errors import LateAnswerError

WATCH_AFTER_SECONDS = 1.0
"""Age at which a request's connection begins to be watched. That takes a task, which under usual load no request is given."""

REPEAT_SECONDS = 0.1
"""Time until a server is asked again that answers with something else than that the client has disconnected."""


class AwaitedRequest:
    """`async with AwaitedRequest(...)`: its block is cancelled when the request's client disconnects, or after some time.

    The body must have been read before: the messages after it are watched for the end of the connection, from
    `WATCH_AFTER_SECONDS` on. The errors are raised where the block ends.

    Args:
        request: The request.
        seconds: Time within which the block must end.

    Raises:
        ClientDisconnect: The client has disconnected.
        LateAnswerError: The block took longer than `seconds`.
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
        self._watcher = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
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
