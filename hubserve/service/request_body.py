"""The body of a request, never more bytes than are allowed, of one request and of all together, nor longer than it may take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from hubserve.errors import ImageTooLargeError, OverloadedError, SlowRequestError


class _Share:
    """Of one body in what is held."""

    def __init__(self, body_reader: RequestBodyReader) -> None:
        self.held = 0
        self._body_reader = body_reader

    def grow_to(self, size: int) -> None:
        if size > self.held:
            self._body_reader.hold(size - self.held)
            self.held = size


class RequestBodyReader:
    """Reads bodies, and knows how much is held of all of them.

    Args:
        max_bytes: of one body.
        max_pending_bytes: of all bodies that are held at once.
        seconds: in which a body must have come.
    """

    def __init__(self, *, max_bytes: int, max_pending_bytes: int, seconds: float) -> None:
        self._max_bytes = max_bytes
        self._max_pending_bytes = max_pending_bytes
        self._seconds = seconds
        self._pending = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The body, which counts as held until the end of the block.

        Raises:
            ImageTooLargeError: it is longer than allowed; the rest is not read.
            OverloadedError: too much is held already.
            SlowRequestError: it did not come in time.
        """
        announced = request.headers.get("content-length", "")
        expected = int(announced) if announced.isdecimal() and len(announced) < 20 else 0
        if expected > self._max_bytes or len(announced) >= 20:
            raise ImageTooLargeError(self._too_long())
        share = _Share(self)
        try:
            share.grow_to(expected)
            yield await self._read(request, share)
        finally:
            self._pending -= share.held

    async def _read(self, request: Request, share: _Share) -> bytes:
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self._seconds):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > self._max_bytes:
                        raise ImageTooLargeError(self._too_long())
                    share.grow_to(size)
                    chunks.append(chunk)
        except TimeoutError as error:
            raise SlowRequestError(f"the body did not come within {self._seconds:g} s: send a smaller picture") from error
        return b"".join(chunks)

    def hold(self, count: int) -> None:
        """Counts so many bytes more as held. Raises OverloadedError."""
        if self._pending + count > self._max_pending_bytes and self._pending:
            raise OverloadedError(
                f"requests of {self._pending:,} bytes are held and at most {self._max_pending_bytes:,} may be; "
                "ask again in a second"
            )
        self._pending += count

    def _too_long(self) -> str:
        return f"the body is longer than the allowed {self._max_bytes:,} bytes: send a smaller picture"
