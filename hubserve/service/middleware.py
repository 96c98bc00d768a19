"""The outermost ASGI layer: checks host, token and size of each request, routes it to BentoML or our API, and counts it.

The checks come before anything of the body is read, in this order, for every path and method, known or not. A request that
changes something is one whose method is not among SAFE and whose path our API has, but for those that classify: so a route that
is added later needs the token for changes unless it says otherwise here.

BentoML's own layers (tracing, metrics by path, contexts) take about a tenth of the time of an image for each request, and add
a label to its metrics for each path that a caller makes up. So they get only what they answer: health, /metrics and the API's
description. All other requests go directly to our routes, and /classify to its handler without a router in between. With the
setting `tracing` every request passes BentoML's layers.
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
from hubserve.service.metrics import count_request
from hubserve.service.outgoing_text import printable
from hubserve.service.routes import classify, embed
from hubserve.service.service_state import ServiceState
from hubserve.service.supervised_worker import report_started

log = logging.getLogger("hubserve.service")
access_log = logging.getLogger("hubserve.access")

HEALTH = frozenset({"/livez", "/healthz", "/readyz"})
BENTOML = HEALTH | {"/metrics", "/docs.json", "/schema.json"}
"""Paths that BentoML answers; /readyz only once a model is ready."""

_OPEN = ("/page/", "/v2/health/")
"""Beginnings of paths that need no token: the page asks for it, and health probes have none."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""

UPLOADS = frozenset({"/jobs/data", "/search_jobs/data"})
"""Paths to which a ZIP of images is posted."""

NOSNIFF = (b"x-content-type-options", b"nosniff")
"""Header that keeps a browser from taking an answer for another type than it says, such as a script."""


class ServiceMiddleware:
    """An ASGI application around our API and BentoML's application; see the module.

    Args:
        api: Our routes.
        bentoml: BentoML's application, with our routes mounted in it; None where our routes are all.
        tracing: Whether every request passes BentoML's layers.
    """

    def __init__(self, api: FastAPI, bentoml: ASGIApp | None = None, *, tracing: bool = False) -> None:
        self._api = api
        self._bentoml = bentoml or api
        self._tracing = tracing
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
        scope, path = call.scope, call.scope["path"]
        try:
            self._check(call, HTTPConnection(scope))
            if path == classify.PATH and scope["method"] == "POST" and not self._tracing:
                call.route = classify.PATH
                answer = await classify.answer_directly(Request(scope, call.receive), call.shared)
                await answer(scope, call.receive, call.send)
            elif _has_images(scope) or _is_upload(scope) or not _has_body(scope):
                await self._route(call, call.receive)
            else:
                async with call.shared.body_reader.body(Request(scope, call.receive), most=json_bounds.MAX_BYTES) as body:
                    if too_many := json_bounds.too_many(body, most=json_bounds.MAX_ENTRIES):
                        raise RequestBodyError(too_many)
                    await self._route(call, _replayed(body, call.receive))
        except HubserveError as error:
            await error_response(error, path=path)(scope, call.receive, call.send)

    def _check(self, call: _TrackedRequest, connection: HTTPConnection) -> None:
        scope, path, settings = call.scope, call.scope["path"], call.shared.settings
        if path in HEALTH:
            return
        call.shared.hosts.check(connection)
        if path != "/" and not path.startswith(_OPEN):
            check_reader(connection, settings)
        if scope["method"] not in SAFE and not _has_images(scope) and self._is_known(scope):
            check_changer(connection, settings)

    def _is_known(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is Match.FULL for route in self._api.routes)

    async def _route(self, call: _TrackedRequest, receive: Receive) -> None:
        scope, path = call.scope, call.scope["path"]
        # BentoML answers 200 as soon as it listens, even with an empty store.
        if path == "/readyz" and (why := await call.shared.why_not_ready()):
            await problem(503, *why)(scope, receive, call.send)
        elif self._tracing or path in BENTOML:
            await self._bentoml(scope, receive, call.send)
        else:
            await self._api(scope, receive, call.send)


class AnsweredErrors:
    """The innermost of BentoML's layers: answers an exception of one of its routes at once, by our JSON with status 500.

    BentoML's `TimeoutMiddleware` waits for the first message of an answer, and does not notice an application that ends with
    an exception before it: the client would wait until the time is over, and then get an answer without a reason.

    Args:
        app: BentoML's routes, with ours mounted in them.
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
    """Passes messages about the start on, and reports it to the supervisor; an expected error is one sentence, no traceback."""

    async def report(message: Message) -> None:
        if message["type"] == "lifespan.startup.failed" and (error := getattr(api.state, "start_error", None)):
            message = {**message, "message": f"hubserve cannot start: {error}"}
        await send(message)
        if message["type"] == "lifespan.startup.complete":
            report_started()

    return report


def _has_images(scope: Scope) -> bool:
    """Whether a route that runs a model answers a request; it reads the body itself, within the limit for images."""
    path: str = scope["path"]
    return scope["method"] == "POST" and (
        path in (classify.PATH, embed.PATH) or (path.startswith("/v2/models/") and path.endswith("/infer"))
    )


def _is_upload(scope: Scope) -> bool:
    """Whether the route of uploads answers a request; it writes the body to disk, within a limit of its own."""
    return scope["method"] == "POST" and scope["path"] in UPLOADS


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in scope["headers"]
    )


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The messages of a request whose body was read already."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed


class _TrackedRequest:
    """A request with the status of its answer and the time that it took.

    Attributes:
        scope: Its ASGI scope.
        shared: The state that all requests share.
        status: Status of its answer; 0 until it begins.
        route: Path pattern of its route where the middleware knows it.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, shared: ServiceState) -> None:
        self.scope, self.shared = scope, shared
        self.status = 0
        self.route = ""
        self._receive, self._send = receive, send
        self._asked_for_body = False
        self._start = time.perf_counter()

    async def receive(self) -> Message:
        self._asked_for_body = True
        return await self._receive()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ())]
            if NOSNIFF not in headers:
                headers.append(NOSNIFF)
            if self.shared.shutdown.started or self._waits_for_100_continue():
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        await self._send(message)

    def _waits_for_100_continue(self) -> bool:
        """Whether the client may or may not send the body after this answer: what comes next could be a body or a request."""
        return not self._asked_for_body and any(name == b"expect" for name, _ in self.scope["headers"])

    def note(self) -> None:
        seconds = time.perf_counter() - self._start
        if self.status:
            count_request(self.route or self._path_of_route(), self.status, seconds)
        if self.shared.settings.access_log:
            method, path = printable(self.scope["method"]), printable(self.scope["path"])
            access_log.info("%s %s %s %.1f ms", method, path, self.status, seconds * 1e3)

    def _path_of_route(self) -> str:
        """The path pattern of the route; not the path itself, of which a caller may make up any number."""
        if self.scope["path"] in BENTOML:
            return str(self.scope["path"])
        route: Any = self.scope.get("route")
        return str(getattr(route, "path", "other"))
