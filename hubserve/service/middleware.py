"""The outermost ASGI layer: routes each request to BentoML or to our API, checks read tokens, and counts requests.

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
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hubserve.errors import HubserveError
from hubserve.service.auth import check_reader
from hubserve.service.error_responses import error_response, problem
from hubserve.service.metrics import count_request
from hubserve.service.routes import classify
from hubserve.service.service_state import ServiceState
from hubserve.service.supervised_worker import report_started

log = logging.getLogger("hubserve.service")
access_log = logging.getLogger("hubserve.access")

HEALTH = frozenset({"/livez", "/healthz", "/readyz"})
BENTOML = HEALTH | {"/metrics", "/docs.json", "/schema.json"}
"""Paths that BentoML answers; /readyz only once a model is ready."""

_OPEN = ("/page/", "/v2/health/")
"""Beginnings of paths that need no token: the page asks for it, and health probes have none."""


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
        if scope["type"] != "http":
            await self._bentoml(scope, receive, _reporting(send, self._api) if scope["type"] == "lifespan" else send)
            if scope["type"] == "lifespan":
                log.info("shut down: %d requests were admitted, %d were answered", self._admitted, self._answered)
            return
        call = _TrackedRequest(scope, send, self._api.state.shared)
        self._admitted += 1
        try:
            await self._route(call, receive)
        finally:
            self._answered += call.status > 0
            call.note()

    async def _route(self, call: _TrackedRequest, receive: Receive) -> None:
        scope, path = call.scope, call.scope["path"]
        if path not in HEALTH and path != "/" and not path.startswith(_OPEN):
            try:
                check_reader(HTTPConnection(scope), call.shared.settings)
            except HubserveError as error:
                await error_response(error, path=path)(scope, receive, call.send)
                return
        # BentoML answers 200 as soon as it listens, even with an empty store.
        if path == "/readyz" and (why := await call.shared.why_not_ready()):
            await problem(503, *why)(scope, receive, call.send)
        elif self._tracing or path in BENTOML:
            await self._bentoml(scope, receive, call.send)
        elif path == classify.PATH and scope["method"] == "POST":
            call.route = classify.PATH
            await _classify(call, receive)
        else:
            await self._api(scope, receive, call.send)


def _reporting(send: Send, api: FastAPI) -> Send:
    """Passes messages about the start on, and reports it to the supervisor; an expected error is one sentence, no traceback."""

    async def report(message: Message) -> None:
        if message["type"] == "lifespan.startup.failed" and (error := getattr(api.state, "start_error", None)):
            message = {**message, "message": f"hubserve cannot start: {error}"}
        await send(message)
        if message["type"] == "lifespan.startup.complete":
            report_started()

    return report


async def _classify(call: _TrackedRequest, receive: Receive) -> None:
    try:
        answer = await classify.answer_directly(Request(call.scope, receive), call.shared)
    except ClientDisconnect:
        call.status = 499  # The status that nginx logs for this; no answer can be sent.
        return
    except Exception:
        log.exception("a request failed")
        answer = problem(500, "InternalError", "see the server's log")
    await answer(call.scope, receive, call.send)


class _TrackedRequest:
    """A request with the status of its answer and the time that it took."""

    def __init__(self, scope: Scope, send: Send, shared: ServiceState) -> None:
        self.scope, self.shared = scope, shared
        self.status = 0
        self.route = ""
        self._send = send
        self._start = time.perf_counter()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.shared.shutdown.started:
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await self._send(message)

    def note(self) -> None:
        seconds = time.perf_counter() - self._start
        if self.status:
            count_request(self.route or self._path_of_route(), self.status, seconds)
        if self.shared.settings.access_log:
            access_log.info("%s %s %s %.1f ms", self.scope["method"], self.scope["path"], self.status, seconds * 1e3)

    def _path_of_route(self) -> str:
        """The path pattern of the route; not the path itself, of which a caller may make up any number."""
        if self.scope["path"] in BENTOML:
            return str(self.scope["path"])
        route: Any = self.scope.get("route")
        return str(getattr(route, "path", "other"))
