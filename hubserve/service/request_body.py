"""Reads the bodies of requests within limits: bytes of one body, bytes of all bodies together, and seconds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from hubserve.errors import ImageTooLargeError, OverloadedError, SlowRequestError


class _Share:
    """The number of bytes that one body holds of all bytes that are held."""

    def __init__(self, body_reader: RequestBodyReader) -> None:
        self.held = 0
        self._body_reader = body_reader

    def grow_to(self, size: int) -> None:
        if size > self.held:
            self._body_reader.hold(size - self.held)
            self.held = size


class RequestBodyReader:
    """Reads the bodies of requests, and counts the bytes that all requests hold at the moment.

    Args:
        max_bytes: Largest size of one body.
        max_pending_bytes: Largest size of all bodies together that are held at once.
        seconds: Time within which a body must be received.
    """

    def __init__(self, *, max_bytes: int, max_pending_bytes: int, seconds: float) -> None:
        self._max_bytes = max_bytes
        self._max_pending_bytes = max_pending_bytes
        self._seconds = seconds
        self._pending = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a request, whose bytes count as held until the end of the block.

        Raises:
            ImageTooLargeError: The body is longer than allowed; the rest of it is not read.
            OverloadedError: Other requests hold too many bytes already.
            SlowRequestError: The body was not received in time.
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
            raise SlowRequestError(f"the body did not come within {self._seconds:g} s: send a smaller image") from error
        return b"".join(chunks)

    def hold(self, count: int) -> None:
        """Counts `count` more bytes as held. Raises OverloadedError where that is more than may be held."""
        if self._pending + count > self._max_pending_bytes and self._pending:
            raise OverloadedError(
                f"requests of {self._pending:,} bytes are held and at most {self._max_pending_bytes:,} may be; "
                "ask again in a second"
            )
        self._pending += count

    def _too_long(self) -> str:
        return f"the body is longer than the allowed {self._max_bytes:,} bytes: send a smaller image"
