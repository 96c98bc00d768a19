"""Runs an HTTP server on loopback, in threads, for tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar

T = TypeVar("T")


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Clients that are killed, or give up, are part of the tests."""


@contextmanager
def loopback_server(handler: type[BaseHTTPRequestHandler], attribute: str, make: Callable[[str], T]) -> Iterator[T]:
    """Yields what `make` returns for the address of the server; handlers have it as that attribute."""
    server = _QuietServer(("127.0.0.1", 0), handler)
    made = make(f"http://127.0.0.1:{server.server_port}")
    server.RequestHandlerClass = type("Bound", (handler,), {attribute: made})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
