"""`RequestBodyReader`: reads the bodies of requests, with limits on size, time, and the size of all bodies that are held.

Bodies that are compressed by gzip or deflate are decompressed, and the limits hold for what they become.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from anyio import to_thread
from starlette.requests import ClientDisconnect, Request

from hubserve.errors import BodyTooLargeError, HubserveError, ImageTooLargeError, OverloadedError, SlowRequestError
from hubserve.service.content_encoding import content_encoding, decompressed


class _Share:
    """Counts the bytes that one body holds (`held`), as a part of all bytes that are held."""

    def __init__(self, body_reader: RequestBodyReader) -> None:
        self.held = 0
        self._body_reader = body_reader

    def grow_to(self, size: int) -> None:
        """Counts `size` bytes as held by this body, unless more are. Raises OverloadedError if too many bytes would be held."""
        if size > self.held:
            self._body_reader.hold(size - self.held)
            self.held = size


class RequestBodyReader:
    """Reads the bodies of requests, and counts the bytes of all bodies that are held at the moment.

    Args:
        max_bytes: Largest size of one body in bytes.
        max_pending_bytes: Largest size in bytes of all bodies that are held at once; one body alone may be larger.
        seconds: Seconds within which a body must be received and decompressed.
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
            SlowRequestError: The body was not received and decompressed in time.
            EncodingError: The header Content-Encoding has another encoding than gzip or deflate, or more than one.
            RequestBodyError: The body cannot be decompressed.
            ClientDisconnect: The client disconnected before the whole body was received.
        """
        encoding = content_encoding(request)
        # What a client announces holds nothing yet: it may never send it.
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and (len(announced) >= 20 or int(announced) > self._limit(most)):
            raise self._too_long(most)
        share = _Share(self)
        try:
            yield await self._read(request, share, most, encoding)
        finally:
            self._pending -= share.held

    @contextmanager
    def held(self, count: int) -> Iterator[None]:
        """Context manager within which `count` bytes count as held. Raises as `hold` does."""
        self.hold(count)
        try:
            yield
        finally:
            self._pending -= count

    async def _read(self, request: Request, share: _Share, most: int | None, encoding: str | None) -> bytes:
        """Returns the whole body of a request, decompressed. Raises as `body` does."""
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self._seconds):
                more = True
                while more:  # `Request.stream` does the same, with a generator that takes time.
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    chunks.append(message.get("body", b""))
                    more = message.get("more_body", False)
                    size += len(chunks[-1])
                    if size > self._limit(most):
                        raise self._too_long(most)
                    share.grow_to(size)
                if encoding is not None:
                    return await self._decompressed(b"".join(chunks), encoding, share, most)
        except TimeoutError as error:
            raise SlowRequestError(f"the body did not come within {self._seconds:g} s: send a smaller one") from error
        return b"".join(chunks)

    async def _decompressed(self, body: bytes, encoding: str, share: _Share, most: int | None) -> bytes:
        """Returns a body after decompression, whose bytes count as held, too. Raises as `body` does."""
        parts, size = [], 0
        steps = decompressed(body, encoding)
        # In threads and in steps, because a small body may become as long as any.
        while part := await to_thread.run_sync(next, steps, b""):
            size += len(part)
            if size > self._limit(most):
                raise self._too_long(most)
            share.grow_to(len(body) + size)
            parts.append(part)
        return b"".join(parts)

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
