"""A server on a socket that refuses requests as it is asked to, and then answers as the service does."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

ANSWER = json.dumps({"model": "m:1", "predictions": [], "timing_ms": {}}).encode()


@dataclass(frozen=True)
class Refusal:
    """How one request is answered: a status (None closes the connection), a header Retry-After, or not at all."""

    status: int | None = 503
    retry_after: str | None = None
    body: bytes = b'{"error": {"type": "OverloadedError", "message": "not now"}}'
    silent: bool = False

    def encoded(self) -> bytes:
        after = f"Retry-After: {self.retry_after}\r\n" if self.retry_after is not None else ""
        return f"HTTP/1.1 {self.status} X\r\n{after}Content-Length: {len(self.body)}\r\n\r\n".encode() + self.body


@dataclass
class RefusingServer:
    """The address of the server, and the requests that it read so far."""

    url: str
    requests: list[bytes] = field(default_factory=list)


@contextmanager
def refusing_server(refusals: Sequence[Refusal]) -> Iterator[RefusingServer]:
    """Answers each request on a connection of its own: with the next refusal, and after the last one with ANSWER."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server, stop, silent = RefusingServer(f"http://127.0.0.1:{listener.getsockname()[1]}"), threading.Event(), []
        listener.settimeout(0.1)

        def serve() -> None:
            left = iter(refusals)
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                server.requests.append(_read(connection))
                refusal = next(left, Refusal(200, body=ANSWER))
                if refusal.silent:
                    silent.append(connection)
                    continue
                if refusal.status is not None:
                    connection.sendall(refusal.encoded().replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server
        finally:
            stop.set()
            thread.join(10)
            for connection in silent:
                connection.close()


def _read(connection: socket.socket) -> bytes:
    connection.settimeout(10)
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body
