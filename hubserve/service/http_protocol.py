"""The HTTP/1.1 protocol of the server: uvicorn's on httptools, with bounds on headers, on slow clients and on connections.

uvicorn reads headers of any number and size, waits for them for ever, and accepts connections until no file can be opened. Here

- a request whose headers are too many or too large is answered with 431,
- a client that needs too long for its headers is answered with 408, and one that does not read its answer is disconnected,
- where too many connections are open, the one that has waited longest for its client is closed for a new one.

Bodies are bounded by `hubserve.service.request_body`; what a client still sends after its answer is discarded, for as long as a
body may take. What this module needs of uvicorn's inside stands in it alone.
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
"""Largest number of requests that a client may send before the first of them is answered."""

LINGER_SECONDS = 2.0
"""Time for which a client that was refused is still read: closed at once, its system would discard the answer unread."""

SWEEP_SECONDS = 0.5
"""The interval in seconds at which the time limits of all connections are checked."""


class _RefusedError(Exception):
    """Stops the parser; the connection's `refusal` says why."""


class ConnectionLimits:
    """The bounds of all connections of a server.

    Args:
        settings: Settings of the service.
        files: Number of files that this process may have open; a connection may use a second one while it is answered.

    Attributes:
        header_bytes: Largest size of a request's line and headers.
        seconds: Time for headers, and for a part of an answer to be read.
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
        """Whether a connection may stay; another one, which waits for its client, may be closed for it."""
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
        now = loop.time()
        for one in tuple(connections):
            one.check_time(now)
        self._watching = bool(connections)
        if connections:
            loop.call_later(SWEEP_SECONDS, self._sweep, loop, connections)


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection.

    Attributes:
        limits: Bounds of all connections; `install` sets them.
        since: Time, by the event loop's clock, when what this connection does now began: waiting, headers, body, or an answer.
        refusal: Status and message of the answer that ends this connection; None where it was not refused.
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
        """Called by uvicorn where the parser failed: at a request that is not HTTP, or at a bound of ours."""
        self._refuse(*(self.refusal or (400, "this is not a request of HTTP/1.1")))

    def _unsupported_upgrade_warning(self) -> None:
        """Is silent: a client may ask for another protocol as often as it likes."""

    def waits_for_client(self) -> bool:
        """Whether nothing happens here before the client sends or reads something."""
        if self.transport.is_closing():
            return False
        return self._is_idle() or self._in_body or self._unsent > 0

    def give_way(self) -> None:
        """Closes this connection at once, so that a new one can be accepted."""
        if self._in_headers or self._in_body:
            self._refuse(408, "too many connections are open, and this one waited longest for its client")
        self._abort()

    def check_time(self, now: float) -> None:
        """Closes this connection if its client has exceeded a time limit at the time `now`."""
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
        self._header_bytes += size
        self._kept_bytes = 0
        if self._header_bytes > self.limits.header_bytes:
            self._stop(431, self._too_large())

    def _too_large(self) -> str:
        return f"the headers are longer than the allowed {self.limits.header_bytes:,} bytes"

    def _stop(self, status: int, message: str) -> None:
        self.refusal = (status, message)
        raise _RefusedError(message)

    def _refuse(self, status: int, message: str) -> None:
        """Answers, unless an answer was begun, and reads on for a moment without keeping anything."""
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
        self._unset_keepalive_if_required()
        self.transport.abort()


def _response(status: int, message: str) -> bytes:
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
    """Makes this the protocol of the servers that uvicorn starts in this process without being given another one."""
    BoundedHttpProtocol.limits = ConnectionLimits(settings)
    uvicorn_config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{BoundedHttpProtocol.__name__}"
