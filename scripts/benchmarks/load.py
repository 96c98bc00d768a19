"""Sends pictures to a service from many clients, or at a fixed rate, and tells requests a second and latency."""

from __future__ import annotations

import asyncio
import ssl
import statistics
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
import uvloop


@dataclass(frozen=True)
class Target:
    """Where requests go.

    Attributes:
        host: name or address.
        port: of it.
        authority: the Host header, with the port where the address has one.
        path: of the route, with its query.
        tls: whether the connection is encrypted, and the certificate checked.
    """

    host: str
    port: int
    authority: str = "127.0.0.1"
    path: str = "/classify"
    tls: bool = False

    @classmethod
    def local(cls, port: int) -> Target:
        """Of a server on this machine."""
        return cls("127.0.0.1", port)

    @classmethod
    def of(cls, url: str) -> Target:
        """The /classify of a service at an address, which may have a path in front of it, and a query for it.

        Raises:
            ValueError: not an address of http or https.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no address such as http://127.0.0.1:3000 or https://models.example.org")
        tls = parts.scheme == "https"
        path = parts.path.rstrip("/").removesuffix("/classify") + "/classify"
        query = f"?{parts.query}" if parts.query else ""
        authority = parts.netloc.rpartition("@")[2]
        return cls(parts.hostname, parts.port or (443 if tls else 80), authority, path + query, tls)


@dataclass
class Load:
    """What the clients saw.

    Attributes:
        seconds: how long they asked.
        latencies_ms: of the answers with status 200.
        refusals_ms: of those with another status.
        statuses: of all answers.
        lost: requests over a connection that worked before, which got no answer.
        unadmitted: likewise, over a new connection: the system takes those for a server that is about to end, and nobody
            ever reads them.
    """

    seconds: float
    latencies_ms: list[float] = field(default_factory=list)
    refusals_ms: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    unadmitted: int = 0

    @property
    def per_second(self) -> float:
        return len(self.latencies_ms) / self.seconds

    def percentile(self, percent: int) -> float:
        return percentile(self.latencies_ms, percent)

    def note(self, status: int, seconds: float) -> None:
        self.statuses[status] += 1
        (self.latencies_ms if status == 200 else self.refusals_ms).append(seconds * 1e3)


def percentile(values: Sequence[float], percent: int) -> float:
    """NaN of fewer than two values."""
    return statistics.quantiles(values, n=100)[percent - 1] if len(values) > 1 else float("nan")


class Connection(asyncio.Protocol):
    """One request at a time over one connection; no more work a request than finding the end of its answer."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None
        self._buffer = bytearray()
        self._missing = -1
        self._chunks = 0
        self._status = 0
        self.open = True
        self.answers = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        self.open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())

    def send(self, request: bytes) -> asyncio.Future[int]:
        """The status of the answer, once it is whole."""
        if not self.open or self._transport is None:
            raise ConnectionResetError
        self._answer = asyncio.get_running_loop().create_future()
        self._buffer.clear()
        self._missing = -1
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            self._buffer += data
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            self._status = int(head.split(b" ", 2)[1])
            length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
            self._missing = int(length or 0) - (len(self._buffer) - end - 4)
            # Where they begin. Servers behind a proxy may answer so; ours does not.
            self._chunks = end + 4 if b"\r\ntransfer-encoding: chunked" in head else 0
            if b"\r\nconnection: close" in head:
                self.open = False
        else:
            self._missing -= len(data)
            if self._chunks:
                self._buffer += data
        if self._chunks:
            self._missing = 0 if _all_chunks(self._buffer, self._chunks) else 1
        if self._missing <= 0 and self._answer is not None and not self._answer.done():
            self.answers += 1
            self._answer.set_result(self._status)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _all_chunks(answer: bytes | bytearray, start: int) -> bool:
    """Whether the last one has come: that of length 0."""
    while (end := answer.find(b"\r\n", start)) >= 0:
        length = int(answer[start:end].partition(b";")[0], 16)
        if not length:
            return answer.endswith(b"\r\n\r\n")
        start = end + 2 + length + 2
    return False


def load(
    target: Target | int,
    bodies: Sequence[bytes],
    *,
    clients: int,
    seconds: float,
    headers: str = "",
    stop: Callable[[], bool] = lambda: False,
) -> Load:
    """A closed loop: each client sends its next picture as soon as it has its answer, until the time is over, or `stop`.

    The target is a port, where the server is on this machine.
    """
    target = target if isinstance(target, Target) else Target.local(target)
    requests = [request_of(body, target, headers) for body in bodies]
    seen = Load(seconds)

    async def client(first: int) -> None:
        connection = await connect(target)
        end = time.perf_counter() + seconds
        number = first
        while time.perf_counter() < end and not stop():
            start = time.perf_counter()
            try:
                if not connection.open:
                    connection.close()
                    connection = await connect(target)
            except OSError:  # Nobody listens any more.
                return
            try:
                status = await connection.send(requests[number % len(requests)])
            except ConnectionResetError:
                seen.lost += connection.answers > 0
                seen.unadmitted += connection.answers == 0
                continue
            if time.perf_counter() < end:
                seen.note(status, time.perf_counter() - start)
            number += 1
        connection.close()

    _run(_all(client(i) for i in range(clients)))
    return seen


def offer(target: Target | int, bodies: Sequence[bytes], *, rate: float, seconds: float, headers: str = "") -> Load:
    """An open loop: so many requests a second, whatever becomes of them; latency counts from when each was due."""
    target = target if isinstance(target, Target) else Target.local(target)
    requests = [request_of(body, target, headers) for body in bodies]
    seen = Load(seconds)
    idle: list[Connection] = []

    async def one(number: int, due: float) -> None:
        try:
            while idle and not idle[-1].open:
                idle.pop().close()
            connection = idle.pop() if idle else await connect(target)
            status = await connection.send(requests[number % len(requests)])
        except OSError:
            seen.lost += 1
            return
        seen.note(status, time.perf_counter() - due)
        idle.append(connection)

    async def pace() -> None:
        start = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * seconds)):
                due = start + number / rate
                await asyncio.sleep(max(due - time.perf_counter(), 0))
                group.create_task(one(number, due))
        for connection in idle:
            connection.close()

    _run(pace())
    return seen


async def connect(target: Target) -> Connection:
    """A new connection."""
    tls = _trusted() if target.tls else None
    _, connection = await asyncio.get_running_loop().create_connection(Connection, target.host, target.port, ssl=tls)
    return connection


@cache
def _trusted() -> ssl.SSLContext:
    """Reading the certificates of the system takes longer than a request."""
    return ssl.create_default_context()


def request_of(body: bytes, target: Target, headers: str = "") -> bytes:
    """Head and body of a request, as they go over the wire."""
    kind = "" if "content-type" in headers.lower() else "Content-Type: image/jpeg\r\n"
    head = f"POST {target.path} HTTP/1.1\r\nHost: {target.authority}\r\n{kind}{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _run(work: Coroutine[Any, Any, Any]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


async def _all(work: Any) -> None:
    await asyncio.gather(*work)


def main(
    pictures: Annotated[list[Path], typer.Argument(help="Picture files, sent in turn.")],
    url: Annotated[str, typer.Option(help="Of the service, on any machine; http or https.")] = "http://127.0.0.1:3000",
    clients: Annotated[int, typer.Option(help="That send at once; each waits for its answer.")] = 32,
    rate: Annotated[float, typer.Option(help="Requests a second instead, whatever becomes of them.")] = 0,
    seconds: Annotated[float, typer.Option(help="To go on.")] = 10,
    token: Annotated[str, typer.Option(help="Where the service wants one.")] = "",
) -> None:
    """Prints requests a second, p50, p99 and statuses. For several machines that ask at once: docs/deploy.md."""
    bodies = [path.read_bytes() for path in pictures]
    try:
        target = Target.of(url)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--url") from error
    headers = f"Authorization: Bearer {token}\r\n" if token else ""
    try:
        if rate:
            seen = offer(target, bodies, rate=rate, seconds=seconds, headers=headers)
        else:
            seen = load(target, bodies, clients=clients, seconds=seconds, headers=headers)
    except OSError as error:
        raise SystemExit(f"{url} cannot be reached: {error}") from error
    print(f"{seen.per_second:.1f} answers/s, p50 {seen.percentile(50):.1f} ms, p99 {seen.percentile(99):.1f} ms")
    print(f"statuses: {dict(seen.statuses)}, lost: {seen.lost}")


if __name__ == "__main__":
    typer.run(main)
