"""`RequestIdentity`: identifies a request by its id and its trace, which its answer, its log lines and its spans have, too."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

ID_HEADER, TRACE_HEADER = b"x-request-id", b"traceparent"
"""Names of the headers with the id of a request, and with its trace (W3C Trace Context)."""

_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
"""Ids of clients that are taken over. Others are replaced, since an id is written into the log."""

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""Values of the header `traceparent`, https://www.w3.org/TR/trace-context/#traceparent-header."""


@dataclass(slots=True)
class RequestIdentity:
    """The id and the trace by which a request is identified.

    Attributes:
        id: Id of the request: the client's, or a random one of 32 hexadecimal digits.
        traceparent: Value of the header `traceparent` of the answer: that of the request, or that of `span`; None if there is
            neither.
        span: The span of the request, of OpenTelemetry; None if requests are not traced.
    """

    id: str
    traceparent: bytes | None = None
    span: Any = None

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that are added to the answer."""
        added = [(ID_HEADER, self.id.encode("ascii"))]
        if self.traceparent is not None:
            added.append((TRACE_HEADER, self.traceparent))
        return added


CURRENT: ContextVar[RequestIdentity | None] = ContextVar("hubserve_request", default=None)
"""Identity of the request that the running task, or a thread that it started, answers; None outside of requests."""


def identify(headers: Iterable[tuple[bytes, bytes]]) -> RequestIdentity:
    """Returns the identity of a request with these headers, whose names are in lower case.

    An id that is missing, longer than 128 characters, or has others than letters, digits and "._:/+=@-" is replaced by a
    random one. A `traceparent` that is not valid is ignored, as W3C Trace Context demands.
    """
    given = trace = None
    for name, value in headers:
        if name == ID_HEADER:
            given = value
        elif name == TRACE_HEADER:
            trace = value
    if given is None or not _ID.fullmatch(given):
        given = os.urandom(16).hex().encode()
    if trace is not None and not _TRACEPARENT.fullmatch(trace):
        trace = None
    return RequestIdentity(given.decode("ascii"), trace)
