"""The server's HTTP protocol: bounds on headers, on slow clients and on connections, each measured."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import httpx2
import pytest
import uvicorn

from hubserve.service.http_protocol import MAX_HEADERS, MAX_PIPELINED, BoundedHttpProtocol, ConnectionLimits
from hubserve.service.settings import ServiceSettings
from tests.waiting import until

LARGE = b"x" * 30_000_000
"""More than a system keeps for a client that does not read."""


async def app(scope, receive, send):
    """Answers before it reads anything; /body reads all first, /slow takes a moment, /large answers with 30 MB."""
    if scope["type"] != "http":
        return
    length = 0
    if scope["path"] == "/body":
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            length += len(message["body"])
            more = message["more_body"]
    if scope["path"] == "/slow":
        await asyncio.sleep(0.5)
    body = LARGE if scope["path"] == "/large" else str(length).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def serving(limits: ConnectionLimits) -> Iterator[tuple[str, int]]:
    protocol = type("Protocol", (BoundedHttpProtocol,), {"limits": limits})
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="error", lifespan="off", http=protocol, timeout_keep_alive=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield server.servers[0].sockets[0].getsockname()
    finally:
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with serving(ConnectionLimits(ServiceSettings(body_seconds=1, max_connections=30), files=1000)) as found:
        yield found


@pytest.fixture
def connect(address):
    with ExitStack() as opened:

        def one(first: bytes = b"") -> socket.socket:
            made = opened.enter_context(socket.create_connection(address, timeout=20))
            made.sendall(first)
            return made

        yield one


def status(connection: socket.socket) -> int:
    """Of the answer; 0 where the server closed without one."""
    try:
        first = connection.makefile("rb").readline()
    except ConnectionError:
        return 0
    return int(first.split()[1]) if first else 0


def send_much(connection: socket.socket, piece: bytes, size: int) -> None:
    """Until all is sent, or the server closes."""
    with suppress(OSError):
        for _ in range(size // len(piece)):
            connection.sendall(piece)


def status_while_sending(connection: socket.socket, piece: bytes, size: int) -> int:
    """Of the answer, which another thread reads while all is sent: TCP drops what is unread when the server resets."""
    with ThreadPoolExecutor(1) as reader:
        answered = reader.submit(status, connection)
        send_much(connection, piece, size)
        return answered.result()


def seconds_until_closed(connection: socket.socket, piece: bytes) -> float:
    """By the server, while `piece` is sent to it again and again."""
    start = time.monotonic()
    with suppress(OSError):
        while time.monotonic() - start < 10:
            connection.sendall(piece)
            time.sleep(0.1)
    return time.monotonic() - start


def test_what_is_usual(address):
    url = "http://{}:{}".format(*address)
    with httpx2.Client(base_url=url) as client:
        for _ in range(3):
            assert client.get("/", headers={f"x-{i}": "y" * 200 for i in range(MAX_HEADERS - 10)}).status_code == 200
            assert client.post("/body", content=b"a" * 3_000_000).text == "3000000"
            assert client.post("/body", content=iter([b"a" * 100_000] * 5)).text == "500000"
            assert client.post("/", content=b"a" * 3_000_000).text == "0", "what follows an answer is discarded"
            assert client.post("/body", content=b"abc", headers={"Expect": "100-continue"}).text == "3"
            assert client.get("/large").content == LARGE


HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"

CHUNKED = b"POST /body HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        (HEAD, b"x: y\r\n" * 1000),
        (HEAD, b"a-header: " + b"y" * 1000 + b"\r\n"),
        (HEAD + b"x: ", b"y" * 100_000),
        (HEAD, b"x" * 100_000),
        (b"GET /", b"a" * 100_000),
        (b"", b"\r\n" * 50_000),
        (CHUNKED + b"0\r\n", b"x: y\r\n" * 1000),
        (CHUNKED + b"0\r\nx: ", b"y" * 100_000),
        (CHUNKED + b"5;x=", b"y" * 100_000),
    ],
    ids=["number", "size", "one-value", "one-name", "url", "blank-lines", "trailers", "one-trailer", "chunk-extension"],
)
def test_headers_without_end(connect, first, piece):
    connection = connect(first)
    gc.collect()
    tracemalloc.start()
    try:
        answered = status_while_sending(connection, piece, 40_000_000)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answered in (431, 408)  # 408 where the machine is so busy that the time ends first.
    assert most < 4_000_000, "40 MB were sent; without a bound they are held several times"


def test_more_headers_than_allowed(connect):
    assert status(connect(HEAD + b"".join(b"x-%d: y\r\n" % i for i in range(MAX_HEADERS)) + b"\r\n")) == 431
    assert status(connect(HEAD + b"".join(b"x-%d: y\r\n" % i for i in range(MAX_HEADERS - 1)) + b"\r\n")) == 200


def test_headers_that_come_slowly(connect):
    start = time.monotonic()
    connections = [connect(b"GET / HT"), connect(HEAD), connect(HEAD + b"x: y")]
    assert [status(one) for one in connections] == [408, 408, 408]
    assert 1 < time.monotonic() - start < 4
    answered = connect(HEAD + b"\r\n")
    assert status(answered) == 200
    answered.sendall(b"GET")
    assert b" 408 " in answered.makefile("rb").read(), "also for a second request"


def test_a_drop_now_and_then_does_not_help(connect):
    assert seconds_until_closed(connect(HEAD), b"x: y\r\n") < 6


def test_a_client_that_says_nothing(connect):
    connection, start = connect(), time.monotonic()
    assert connection.recv(1) == b""
    assert time.monotonic() - start < 5


def test_a_client_that_does_not_read(connect):
    connection = connect()
    connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
    time.sleep(3)
    received = 0
    with suppress(ConnectionError):
        while part := connection.recv(1_000_000):
            received += len(part)
    assert received < len(LARGE)


def test_a_body_that_goes_on_after_the_answer(connect):
    connection = connect(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n")
    assert status(connection) == 200
    assert seconds_until_closed(connection, b"a" * 1000) < 6


def test_requests_sent_before_the_first_is_answered(connect):
    few = connect(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" * MAX_PIPELINED)
    many = connect(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" * 10_000)
    assert status(few) == 200
    assert status(many) in (0, 400)


def test_more_connections_than_allowed(connect, address):
    """The ones that waited longest for their clients make room; a new one is answered at once."""
    slow = [connect(HEAD if i % 2 else CHUNKED) for i in range(100)]
    for _ in range(5):
        start = time.monotonic()
        assert httpx2.get("http://{}:{}/".format(*address)).status_code == 200
        assert time.monotonic() - start < 1
    assert status(slow[0]) in (0, 408)


def test_connections_are_half_of_the_files_that_may_be_open():
    settings = ServiceSettings()
    assert ConnectionLimits(settings, files=1024).most == 512
    assert ConnectionLimits(settings, files=1_000_000).most == settings.max_connections


def test_while_all_others_are_answered_a_new_one_is_refused():
    with serving(ConnectionLimits(ServiceSettings(max_connections=2))) as address, ExitStack() as opened:
        busy = [opened.enter_context(socket.create_connection(address, timeout=20)) for _ in range(2)]
        for one in busy:
            one.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.2)
        assert status(opened.enter_context(socket.create_connection(address, timeout=20))) == 503
        assert [status(one) for one in busy] == [200, 200]
