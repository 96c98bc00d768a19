"""Bodies count as held while a request needs them, and no longer, whatever the outcome."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request

from hubserve.errors import ImageTooLargeError, OverloadedError, SlowRequestError
from hubserve.service.request_body import RequestBodyReader


def request(*chunks: bytes, length: int | None = None, end: bool = True) -> Request:
    """One whose body comes in these parts; without an end the last is waited for in vain."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if end:
        messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive():
        return messages.pop(0) if messages else await asyncio.Event().wait()

    headers = [] if length is None else [(b"content-length", str(length).encode())]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


def make(**settings) -> RequestBodyReader:
    return RequestBodyReader(**{"max_bytes": 100_000, "max_pending_bytes": 150_000, "seconds": 30.0, **settings})


async def read(body_reader: RequestBodyReader, wanted: Request) -> tuple[bytes, int]:
    """The body, and what was held with it."""
    async with body_reader.body(wanted) as body:
        return body, body_reader._pending


@pytest.mark.parametrize("length", [None, 10, 50_000])
def test_a_body_counts_as_long_as_it_is_and_not_as_it_says(length):
    body_reader = make()
    body, held = asyncio.run(read(body_reader, request(*[b"a"] * 50_000, length=length)))
    assert (len(body), held) == (50_000, 50_000)
    assert body_reader._pending == 0
    _, held = asyncio.run(read(body_reader, request(b"a", length=70_000)))
    assert held == 1, "a client that announces a body and sends none takes room from nobody"
    assert body_reader._pending == 0


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (lambda: request(b"a" * 60_000, b"a" * 60_000), ImageTooLargeError),
        (lambda: request(length=100_001), ImageTooLargeError),
        (lambda: request(b"a" * 60_000, end=False), SlowRequestError),
    ],
)
def test_what_is_refused_is_forgotten(wanted, error):
    body_reader = make(seconds=0.05)
    with pytest.raises(error):
        asyncio.run(read(body_reader, wanted()))
    assert body_reader._pending == 0


@pytest.mark.parametrize("length", [None, 80_000])
def test_too_much_at_once(length):
    body_reader = make()

    async def two():
        async with body_reader.body(request(b"a" * 80_000)):
            with pytest.raises(OverloadedError, match="80,000 bytes are held and at most 150,000"):
                await read(body_reader, request(b"a" * 80_000, length=length))
            assert body_reader._pending == 80_000

    asyncio.run(two())
    assert body_reader._pending == 0
