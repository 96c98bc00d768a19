"""`ServiceMiddleware`, the outermost ASGI layer: checks host, token and size of each request, routes it and counts it.

Host and token are checked before the body is read, for every path except those in `HEALTH`. A request needs the token for
changes if our API has a route for its path and method, its method is not in `SAFE`, it does not run a model, and it is not a
POST to `READ_BY_POST`. So a route that is added later needs that token unless this module says otherwise. If there is a token
for reading, other requests need it, except those for `_PAGES` and for paths that begin as in `_OPEN`. Then the body of a
request that neither runs a model nor uploads data is read here, within the bounds of `json_bounds`; other routes read it
themselves.

BentoML's own layers for tracing, metrics and contexts take about a tenth of the time of an image, and create a metric label for
each path that a client invents. So only the paths in `BENTOML` are passed to them. All other requests go to our routes, and
/classify goes to its handler without a router in between.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from fastapi import FastAPI
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hubserve.errors import HubserveError, RequestBodyError
from hubserve.service import json_bounds
from hubserve.service.auth import check_changer, check_reader
from hubserve.service.error_responses import error_response, problem, refuse_disconnected
from hubserve.service.json_log import FIELDS
from hubserve.service.metrics import count_request
from hubserve.service.outgoing_text import printable
from hubserve.service.request_identity import CURRENT, identify
from hubserve.service.routes import classify, classify_text, embed
from hubserve.service.service_state import ServiceState
from hubserve.service.supervised_worker import report_started

log = logging.getLogger("hubserve.service")
access_log = logging.getLogger("hubserve.access")

HEALTH = frozenset({"/livez", "/healthz", "/readyz"})
"""Paths for health checks, which need no token and no allowed host."""

BENTOML = HEALTH | {"/metrics", "/schema.json"}
"""Paths that BentoML answers. /readyz is answered by the middleware with 503 until a model is ready."""

_PAGES = frozenset({"/", "/docs"})
"""Paths of pages. They need no token, for they have no data and ask the user for it."""

_OPEN = ("/page/", "/docs/", "/v2/health/")
"""Starts of further paths that need no token: files of the pages, and health checks."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""HTTP methods that change nothing."""

READ_BY_POST = "/v2/repository/index"
"""Path of a POST that only reads, as Triton's protocol has it."""

UPLOADS = frozenset({"/jobs/data", "/search_jobs/data"})
"""Paths to which a ZIP file of images is posted."""

NOSNIFF = (b"x-content-type-options", b"nosniff")
"""Header that forbids a browser to guess the type of an answer, which might make it run one as a script."""


class ServiceMiddleware:
    """Checks each HTTP request, passes it to our API or to BentoML's application, and counts it; see this module's docstring.

    Errors of hubserve are answered with their status. An unexpected exception is logged and answered with 500; if an answer was
    begun, it is raised again instead, which closes the connection. A websocket is closed with code 1008.

    Args:
        api: The application with our routes.
        bentoml: BentoML's application, in which our routes are mounted; None if there are only our routes.
    """

    def __init__(self, api: FastAPI, bentoml: ASGIApp | None = None) -> None:
        self._api = api
        self._bentoml = bentoml or api
        self._admitted = self._answered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._bentoml(scope, receive, _reporting(send, self._api) if scope["type"] == "lifespan" else send)
            if scope["type"] == "lifespan":
                log.info("shut down: %d requests were admitted, %d were answered", self._admitted, self._answered)
            return
        call = _TrackedRequest(scope, receive, send, self._api.state.shared)
        self._admitted += 1
        try:
            await self._answer(call)
        except ClientDisconnect:
            call.status = 499  # The status that nginx logs for this; no answer can be sent.
        except Exception:
            if call.status:  # A part of the answer was sent: only closing the connection says that there is no rest.
                raise
            log.exception("a request failed")
            await problem(500, "InternalError", "see the server's log", path=scope["path"])(scope, receive, call.send)
        finally:
            self._answered += call.status > 0
            call.note()

    async def _answer(self, call: _TrackedRequest) -> None:
        """Checks a request and passes it to its route. Answers errors of hubserve; other exceptions are raised.

        The body is read and checked first, except that of a request that runs a model or uploads data.
        """
        scope, path = call.scope, call.scope["path"]
        try:
            self._check(call, HTTPConnection(scope))
            if path == classify.PATH and scope["method"] == "POST":
                call.route = classify.PATH
                answer = await classify.answer_directly(Request(scope, call.receive), call.shared)
                await answer(scope, call.receive, call.send)
            elif _runs_model(scope) or _is_upload(scope) or not _has_body(scope):
                await self._route(call, call.receive)
            else:
                async with call.shared.body_reader.body(Request(scope, call.receive), most=json_bounds.MAX_BYTES) as body:
                    if too_many := json_bounds.too_many(body, most=json_bounds.MAX_ENTRIES):
                        raise RequestBodyError(too_many)
                    await self._route(call, _replayed(body, call.receive))
        except HubserveError as error:
            await error_response(error, path=path)(scope, call.receive, call.send)

    def _check(self, call: _TrackedRequest, connection: HTTPConnection) -> None:
        """Checks the host and the token of a request; the docstring of this module says which requests need them.

        Raises:
            HostError: The header Host has a name that is not allowed.
            UnauthorizedError: The request does not have the token that it needs.
            ForbiddenError: The request would change something, and the server has no token.
        """
        scope, path, settings = call.scope, call.scope["path"], call.shared.settings
        if path in HEALTH:
            return
        call.shared.hosts.check(connection)
        if path not in _PAGES and not path.startswith(_OPEN):
            check_reader(connection, settings)
        if scope["method"] not in SAFE and not _only_reads(scope) and self._is_known(scope):
            check_changer(connection, settings)

    def _is_known(self, scope: Scope) -> bool:
        """Returns whether our API has a route for the path and method of a request."""
        return any(route.matches(scope)[0] is Match.FULL for route in self._api.routes)

    async def _route(self, call: _TrackedRequest, receive: Receive) -> None:
        """Passes a request to BentoML or to our API, HEAD as GET. Answers /readyz with 503 itself if no model is ready."""
        scope, path = call.scope, call.scope["path"]
        if scope["method"] == "HEAD":
            # The server sends no body, because its own scope still says HEAD; routes need not know the method.
            scope = call.scope = {**scope, "method": "GET"}
        # BentoML answers 200 as soon as it listens, even with an empty store.
        if path == "/readyz" and (why := await call.shared.why_not_ready()):
            await problem(503, *why)(scope, receive, call.send)
        elif path in BENTOML:
            await self._bentoml(scope, receive, call.send)
        else:
            await self._api(scope, receive, call.send)


class AnsweredErrors:
    """An ASGI layer directly around BentoML's routes, which answers their exceptions with status 500 in our JSON format.

    If the client has disconnected, the status is 400. If an answer was begun, the exception is raised again.

    BentoML's `TimeoutMiddleware` waits for the first message of an answer, and does not notice that an application ends with an
    exception before it. The client would get an answer only after the time limit, and without a reason.

    Args:
        app: BentoML's routes, in which ours are mounted.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            if scope["type"] != "http" or begun:
                raise
            if isinstance(error, ClientDisconnect):  # Nobody reads it, but BentoML waits for it.
                answer = await refuse_disconnected(Request(scope), error)
            else:
                log.exception("a request failed")
                answer = problem(500, "InternalError", "see the server's log", path=scope["path"])
            await answer(scope, receive, send)


def _reporting(send: Send, api: FastAPI) -> Send:
    """Returns `send` with two additions for start-up.

    A successful start is reported to the supervisor. The message of a failed one is replaced by a sentence without a traceback
    if the state of `api` has the reason as `start_error`.
    """

    async def report(message: Message) -> None:
        if message["type"] == "lifespan.startup.failed" and (error := getattr(api.state, "start_error", None)):
            message = {**message, "message": f"hubserve cannot start: {error}"}
        await send(message)
        if message["type"] == "lifespan.startup.complete":
            report_started()

    return report


def _runs_model(scope: Scope) -> bool:
    """Returns whether a request is for a route that runs a model; such a route itself reads the body, with its own limit."""
    path: str = scope["path"]
    return scope["method"] == "POST" and (
        path in (classify.PATH, classify_text.PATH, embed.PATH) or (path.startswith("/v2/models/") and path.endswith("/infer"))
    )


def _only_reads(scope: Scope) -> bool:
    """Returns whether a request with a method that is not in `SAFE` changes nothing."""
    return _runs_model(scope) or (scope["method"] == "POST" and scope["path"] == READ_BY_POST)


def _is_upload(scope: Scope) -> bool:
    """Returns whether a request uploads data. That route writes the body to disk, with limits of its own."""
    return scope["method"] == "POST" and scope["path"] in UPLOADS


def _has_body(scope: Scope) -> bool:
    """Returns whether a request has a body, by its headers."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in scope["headers"]
    )


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Returns a `receive` function for a request whose body was read before: first the body, then the following messages."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed


class _TrackedRequest:
    """A request, with its identity, the status of its answer and the time that the answer takes.

    The constructor starts its span if requests are traced, and sets `CURRENT`.

    Attributes:
        identity: Id and trace of the request, which `CURRENT` has, too.
        scope: ASGI scope of the request, in which HEAD may have become GET.
        method: HTTP method of the request.
        shared: State that all requests share.
        status: HTTP status of the answer; 0 until the answer begins, and 499 if the client disconnected.
        route: Path pattern of the route if the middleware sets it; empty otherwise.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, shared: ServiceState) -> None:
        self.scope, self.shared = scope, shared
        self.method = scope["method"]
        self.status = 0
        self.route = ""
        self._receive, self._send = receive, send
        self._asked_for_body = False
        self._start = time.perf_counter()
        self.identity = identify(scope["headers"])
        if shared.tracing is not None:
            shared.tracing.start(self.identity, scope["method"])
        CURRENT.set(self.identity)

    async def receive(self) -> Message:
        """Receives the next message of the request."""
        self._asked_for_body = True
        return await self._receive()

    async def send(self, message: Message) -> None:
        """Sends a message of the answer. For the first one, sets `status` and adds headers.

        They are those of `identity`, `NOSNIFF`, and `Connection: close` during a shutdown or if a body may still be sent.
        """
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), *self.identity.headers]
            if NOSNIFF not in headers:
                headers.append(NOSNIFF)
            if self.shared.shutdown.started or self._waits_for_100_continue():
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        await self._send(message)

    def _waits_for_100_continue(self) -> bool:
        """Returns whether the request has the header Expect and its body was not read.

        After such a request, the client may or may not send the body, so the connection must be closed after the answer.
        """
        return not self._asked_for_body and any(name == b"expect" for name, _ in self.scope["headers"])

    def note(self) -> None:
        """Counts the request if it has a status, logs it if the settings say so, and ends its span if it has one."""
        seconds = time.perf_counter() - self._start
        route = self.route or self._path_of_route()
        if self.status:
            count_request(route, self.status, seconds)
        if self.shared.settings.logs_requests:
            method, path, ms = printable(self.method), printable(self.scope["path"]), seconds * 1e3
            fields = {"method": method, "path": path, "route": route, "status": self.status, "ms": round(ms, 1)}
            text = "%s %s %s %.1f ms, id %s"
            access_log.info(text, method, path, self.status, ms, self.identity.id, extra={FIELDS: fields})
        if self.shared.tracing is not None:
            self.shared.tracing.end(self.identity, route, self.status)

    def _path_of_route(self) -> str:
        """Returns the path pattern of the route, "other" if there is none. It is never a path that a client has invented."""
        if self.scope["path"] in BENTOML:
            return str(self.scope["path"])
        route: Any = self.scope.get("route")
        return str(getattr(route, "path", "other"))
