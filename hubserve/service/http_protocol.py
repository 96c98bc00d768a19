"""uvicorn's HTTP/1.1 protocol with limits on headers, slow clients and connections; `install` makes the server use it.

uvicorn by itself accepts headers of any number and size, waits for them without limit, and accepts connections until no more
files can be opened. Here

- a request with too many or too large headers is answered with 431,
- a client that takes too long to send its headers is answered with 408, and one that does not read its answer is disconnected,
- if too many connections are open, the one that has waited longest for its client is closed in favour of a new one.

`hubserve.service.request_body` limits bodies. What a client sends after its answer is discarded, for as long as a body may
take. Only this module uses private names of uvicorn.
"""

from __future__ import annotations

import asyncio
import json
import resource
from typing import Any

from uvicorn import config as uvicorn_config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from hubserve.service.metrics import count_request
from hubserve.service.settings import ServiceSettings

MAX_HEADERS = 100
"""Largest number of headers of a request."""

MAX_PIPELINED = 16
"""Largest number of requests that a client may send before the first one is answered."""

LINGER_SECONDS = 2.0
"""Seconds for which a refused client is still read from, so that it does not lose the answer."""

SWEEP_SECONDS = 0.5
"""Seconds between two checks of the time limits of all connections."""


class _RefusedError(Exception):
    """Raised in a callback to stop the parser; `BoundedHttpProtocol.refusal` has the reason."""


class ConnectionLimits:
    """The limits of all connections of a server.

    Args:
        settings: Settings of the service.
        files: Number of files that this process may open; None reads it from the operating system. A connection counts as two.

    Attributes:
        header_bytes: Largest size in bytes of the request line and the headers of a request.
        seconds: Seconds within which headers must be received; and within which a client must read a part of its answer.
        most: Largest number of connections.
    """

    def __init__(self, settings: ServiceSettings, *, files: int | None = None) -> None:
        self.header_bytes = int(settings.max_header_kb * 1e3)
        self.seconds = settings.body_seconds
        if files is None:
            files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        allowed = settings.max_connections if files == resource.RLIM_INFINITY else min(settings.max_connections, files // 2)
        self.most = max(1, allowed)
        self._watching = False

    def admit(self, new: BoundedHttpProtocol) -> bool:
        """Returns whether a new connection may stay.

        If there are too many, the one that has waited longest for its client is closed instead. If none waits, the new one may
        not stay. The first call starts the regular checks of the time limits of all connections.
        """
        connections: set[Any] = new.connections  # Of this class all, since the server was given no other.
        if not self._watching:
            self._watching = True
            new.loop.call_later(SWEEP_SECONDS, self._sweep, new.loop, connections)
        if len(connections) <= self.most:
            return True
        waiting = [one for one in connections if one is not new and one.waits_for_client()]
        if not waiting:
            return False
        min(waiting, key=lambda one: one.since).give_way()
        return True

    def _sweep(self, loop: asyncio.AbstractEventLoop, connections: set[BoundedHttpProtocol]) -> None:
        """Checks the time limits of all connections, and again after `SWEEP_SECONDS` as long as there are any."""
        now = loop.time()
        for one in tuple(connections):
            one.check_time(now)
        self._watching = bool(connections)
        if connections:
            loop.call_later(SWEEP_SECONDS, self._sweep, loop, connections)


class BoundedHttpProtocol(HttpToolsProtocol):
    """One HTTP/1.1 connection, which keeps the limits of `ConnectionLimits`.

    Attributes:
        limits: Limits of all connections, which `install` sets.
        since: Time, by the event loop's clock, at which the present activity began: waiting for a request, receiving headers,
            receiving a body and answering, or discarding what comes after a refusal.
        refusal: Status and message with which a callback has stopped the parser; None before that.
    """

    limits = ConnectionLimits(ServiceSettings())

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.ws_protocol_class = None  # There is nothing here that speaks WebSocket.
        self.since = self.loop.time()
        self.refusal: tuple[int, str] | None = None
        self._ended = False
        self._in_headers = self._in_body = False
        self._kept_bytes = self._header_bytes = 0
        self._unsent, self._unsent_since = 0, self.since

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self.limits.admit(self):
            self._refuse(503, "too many connections are open; ask again in a second")

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        # What the parser keeps until it has all of it: a header, or what stands between the parts of a chunked body.
        self._kept_bytes += len(data)
        super().data_received(data)
        if self._kept_bytes > self.limits.header_bytes and not self._ended:
            self._refuse(431, self._too_large())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.since = self.loop.time()
        self._in_headers, self._header_bytes, self._kept_bytes = True, 0, 0

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        # Also called for each header behind a chunked body.
        self._count(len(name) + len(value) + 4)
        if len(self.headers) >= MAX_HEADERS:
            self._stop(431, f"the request has more than {MAX_HEADERS} headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            self._stop(400, f"more than {MAX_PIPELINED} requests were sent before the first was answered")
        self._in_headers, self._in_body, self._kept_bytes = False, True, 0
        self.since = self.loop.time()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._kept_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body, self._kept_bytes = False, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self.since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answers with `refusal`, or with 400 for what is not HTTP/1.1. uvicorn calls it if the parser fails; ignores `msg`."""
        self._refuse(*(self.refusal or (400, "this is not a request of HTTP/1.1")))

    def _unsupported_upgrade_warning(self) -> None:
        """Logs nothing, in place of uvicorn's warning, because a client may ask for another protocol any number of times."""

    def waits_for_client(self) -> bool:
        """Returns whether this connection is open and nothing happens until the client sends or reads something."""
        if self.transport.is_closing():
            return False
        return self._is_idle() or self._in_body or self._unsent > 0

    def give_way(self) -> None:
        """Closes this connection at once in favour of a new one.

        A request that was not received completely is answered with 408 first, unless an answer has begun.
        """
        if self._in_headers or self._in_body:
            self._refuse(408, "too many connections are open, and this one waited longest for its client")
        self._abort()

    def check_time(self, now: float) -> None:
        """Closes this connection if its client has exceeded a time limit; answers with 408 first if headers are not complete.

        Args:
            now: The current time by the event loop's clock.
        """
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent or not unsent:
            self._unsent, self._unsent_since = unsent, now
        waited, seconds = now - self.since, self.limits.seconds
        if unsent and now - self._unsent_since > seconds:
            self._abort()
        elif self._ended:
            if waited > LINGER_SECONDS:
                self._abort()
        elif self._is_idle() and waited > seconds:
            if self._in_headers:
                self._refuse(408, f"the headers did not come within {seconds:g} s")
            elif self._in_body or waited > self.timeout_keep_alive + 1:
                self._abort()

    def _is_idle(self) -> bool:
        """Returns whether no request of this connection is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _count(self, size: int) -> None:
        """Counts bytes of headers. Stops the parser with status 431 if there are too many."""
        self._header_bytes += size
        self._kept_bytes = 0
        if self._header_bytes > self.limits.header_bytes:
            self._stop(431, self._too_large())

    def _too_large(self) -> str:
        return f"the headers are longer than the allowed {self.limits.header_bytes:,} bytes"

    def _stop(self, status: int, message: str) -> None:
        """Sets `refusal` and raises _RefusedError, which stops the parser."""
        self.refusal = (status, message)
        raise _RefusedError(message)

    def _refuse(self, status: int, message: str) -> None:
        """Answers with an error, and discards what the client sends for `LINGER_SECONDS`.

        If another answer has begun, closes the connection at once instead. Requests that wait to be answered are dropped.
        """
        self._ended, self.since = True, self.loop.time()
        self._unset_keepalive_if_required()
        begun = False
        for cycle in (self.cycle, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                begun = begun or cycle.response_started
                # For the application the client is gone: what it sends is not written.
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
        if begun or self.transport.is_closing():
            self._abort()
            return
        count_request("other", status, 0.0)
        self.transport.write(_response(status, message))
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _abort(self) -> None:
        """Closes the connection at once."""
        self._unset_keepalive_if_required()
        self.transport.abort()


def _response(status: int, message: str) -> bytes:
    """Returns the bytes of the response with an error, whose status is 400, 408, 431 or 503."""
    kind = {400: "RequestError", 408: "SlowRequestError", 431: "HeadersTooLargeError", 503: "OverloadedError"}[status]
    body = json.dumps({"error": {"type": kind, "message": message}}, separators=(",", ":")).encode()
    headers = [
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"x-content-type-options: nosniff",
        b"connection: close",
    ]
    return STATUS_LINE[status] + b"\r\n".join([*headers, b"", body])


def install(settings: ServiceSettings) -> None:
    """Makes uvicorn use this protocol for all servers in this process that do not name another one."""
    BoundedHttpProtocol.limits = ConnectionLimits(settings)
    uvicorn_config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{BoundedHttpProtocol.__name__}"
