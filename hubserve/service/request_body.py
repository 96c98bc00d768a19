"""`RequestBodyReader`: reads the bodies of requests, with limits on size, time, and the size of all bodies that are held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from hubserve.errors import BodyTooLargeError, HubserveError, ImageTooLargeError, OverloadedError, SlowRequestError


class _Share:
    """The number of bytes that one body holds, of all bytes that are held."""

    def __init__(self, body_reader: RequestBodyReader) -> None:
        self.held = 0
        self._body_reader = body_reader

    def grow_to(self, size: int) -> None:
        """Counts `size` bytes as held by this body. Raises OverloadedError if too many bytes are held already."""
        if size > self.held:
            self._body_reader.hold(size - self.held)
            self.held = size


class RequestBodyReader:
    """Reads the bodies of requests, and counts the bytes of all bodies that are held at the moment.

    Args:
        max_bytes: Largest size of one body in bytes.
        max_pending_bytes: Largest size in bytes of all bodies that are held at once.
        seconds: Seconds within which a body must be received.
    """

    def __init__(self, *, max_bytes: int, max_pending_bytes: int, seconds: float) -> None:
        self._max_bytes = max_bytes
        self._max_pending_bytes = max_pending_bytes
        self._seconds = seconds
        self._pending = 0

    @asynccontextmanager
    async def body(self, request: Request, *, most: int | None = None) -> AsyncIterator[bytes]:
        """Async context manager that reads the body of a request. Its bytes count as held until the end of the block.

        Args:
            request: The request.
            most: Largest size in bytes for a request without images, if it is less than `max_bytes`. None is for requests with
                images.

        Raises:
            ImageTooLargeError: `most` is None and the body is longer than allowed; the rest of it is not read.
            BodyTooLargeError: `most` is given and the body is longer than allowed; the rest of it is not read.
            OverloadedError: Other requests hold too many bytes already.
            SlowRequestError: The body was not received in time.
            ClientDisconnect: The client disconnected before the whole body was received.
        """
        # What a client announces holds nothing yet: it may never send it.
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and (len(announced) >= 20 or int(announced) > self._limit(most)):
            raise self._too_long(most)
        share = _Share(self)
        try:
            yield await self._read(request, share, most)
        finally:
            self._pending -= share.held

    async def _read(self, request: Request, share: _Share, most: int | None) -> bytes:
        """Returns the whole body of a request. Raises as `body` does."""
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self._seconds):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > self._limit(most):
                        raise self._too_long(most)
                    share.grow_to(size)
                    chunks.append(chunk)
        except TimeoutError as error:
            raise SlowRequestError(f"the body did not come within {self._seconds:g} s: send a smaller one") from error
        return b"".join(chunks)

    def hold(self, count: int) -> None:
        """Counts `count` more bytes as held. One body alone may be larger than `max_pending_bytes`.

        Raises:
            OverloadedError: More than `max_pending_bytes` would be held.
        """
        if self._pending + count > self._max_pending_bytes and self._pending:
            raise OverloadedError(
                f"requests of {self._pending:,} bytes are held and at most {self._max_pending_bytes:,} may be; "
                "ask again in a second"
            )
        self._pending += count

    def _limit(self, most: int | None) -> int:
        """Returns the largest size of a body in bytes."""
        return self._max_bytes if most is None else min(most, self._max_bytes)

    def _too_long(self, most: int | None) -> HubserveError:
        """Returns the exception for a body that is too long."""
        message = f"the body is longer than the allowed {self._limit(most):,} bytes"
        return ImageTooLargeError(f"{message}: send a smaller image") if most is None else BodyTooLargeError(message)
