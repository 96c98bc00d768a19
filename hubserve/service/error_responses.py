"""Every error as an answer: which error has which status, and the one shape that all of them have."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from hubserve.errors import (
    AliasError,
    ArchError,
    CardError,
    ForbiddenError,
    HubserveError,
    ImageError,
    ImageTooLargeError,
    JobError,
    JobNotFoundError,
    ModelNotFoundError,
    ModelRefusedError,
    OverloadedError,
    RequestBodyError,
    RequestError,
    SlowRequestError,
    SpaceError,
    TensorError,
    TopKError,
    UnauthorizedError,
    clear_frames,
)

log = logging.getLogger("hubserve.service")

STATUS: dict[type[HubserveError], int] = {
    ImageTooLargeError: 413,
    ImageError: 415,
    RequestBodyError: 400,
    TensorError: 400,
    TopKError: 422,
    SlowRequestError: 408,
    UnauthorizedError: 401,
    ForbiddenError: 403,
    RequestError: 400,
    ModelNotFoundError: 404,
    ModelRefusedError: 409,
    AliasError: 422,
    JobNotFoundError: 404,
    JobError: 422,
    SpaceError: 422,
    ArchError: 422,
    CardError: 422,
    OverloadedError: 503,
}
"""Error -> status; the first that fits, in this order. All others are faults of the server."""

ERROR_HEADERS = {503: {"Retry-After": "1"}, 401: {"WWW-Authenticate": "Bearer"}}


class ErrorResponse(BaseModel):
    """Every error, but for those of the Open Inference Protocol.

    Attributes:
        error: its "type" and its "message", which says how to go on.
    """

    error: dict[str, str]


class ProtocolErrorResponse(BaseModel):
    """Every error of the Open Inference Protocol.

    Attributes:
        error: its message.
    """

    error: str


def described(*statuses: int, model: type[BaseModel] = ErrorResponse) -> dict[int | str, dict[str, Any]]:
    """Errors of a route, for the API's description."""
    return {status: {"model": model, "description": DESCRIPTIONS[status]} for status in statuses}


DESCRIPTIONS = {
    400: "The request is damaged, or has no picture.",
    401: "No token, or a wrong one.",
    403: "The service has no token, so nobody may change anything.",
    404: "There is no such thing.",
    408: "The body did not come in time.",
    409: "The state of things does not allow it.",
    413: "Too many bytes or pixels.",
    415: "Not a readable picture.",
    422: "A parameter is out of range, or what is described cannot be.",
    503: "Too much waits, or it took too long; the header Retry-After says when to ask again.",
}


def error_body(error: HubserveError) -> dict[str, Any]:
    """The body of its answer."""
    return {"error": {"type": type(error).__name__, "message": str(error.args[0]) if error.args else str(error)}}


def error_response(error: HubserveError, *, status: int | None = None, path: str = "") -> JSONResponse:
    """The answer to a request for `path` that failed so."""
    if status is None:
        status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)
    if status == 500:
        log.error("a request failed", exc_info=error)
    clear_frames(error)
    return _answer(status, error_body(error), path)


def problem(status: int, kind: str, message: str, *, path: str = "") -> JSONResponse:
    """An answer to a request for `path`, for what is no error of ours."""
    return _answer(status, {"error": {"type": kind, "message": message}}, path)


def _answer(status: int, content: dict[str, Any], path: str) -> JSONResponse:
    if path == "/v2" or path.startswith("/v2/"):
        # The Open Inference Protocol wants the sentence alone.
        content = {"error": content["error"]["message"]}
    return JSONResponse(content, status_code=status, headers=ERROR_HEADERS.get(status))


async def refuse(request: Request, error: Exception) -> JSONResponse:
    """Handler of all our errors."""
    path = request.url.path
    if isinstance(error, HubserveError):
        return error_response(error, path=path)
    return problem(500, "InternalError", "see the server's log", path=path)


async def refuse_parameter(request: Request, error: Exception) -> JSONResponse:
    """Handler of parameters and JSON bodies that FastAPI does not accept."""
    wrong = error.errors() if isinstance(error, RequestValidationError) else []
    message = "; ".join(f"{_where(entry)}: {entry['msg']}" for entry in wrong)
    return problem(422, "ParameterError", message, path=request.url.path)


async def refuse_route(request: Request, error: Exception) -> JSONResponse:
    """Handler of paths and methods that there are not."""
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
    answer = problem(status, "HTTPError", str(detail), path=request.url.path)
    answer.headers.update(getattr(error, "headers", None) or {})
    return answer


async def refuse_disconnected(request: Request, _: Exception) -> JSONResponse:
    """Handler of clients that leave before their request is whole."""
    return problem(400, "ClientDisconnect", "the client left before its request was whole", path=request.url.path)


def _where(entry: Any) -> str:
    """The name of what is wrong, with the value where one was given."""
    name = ".".join(str(part) for part in entry["loc"] if part not in ("body", "query", "path", "form")) or "the body"
    return f"{name} = {repr(entry['input'])[:200]}" if "input" in entry else name


HANDLERS: dict[Any, Any] = {
    HubserveError: refuse,
    RequestValidationError: refuse_parameter,
    HTTPException: refuse_route,
    ClientDisconnect: refuse_disconnected,
}
"""What FastAPI is given."""
