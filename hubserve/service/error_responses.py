"""Turns exceptions into answers: the HTTP status of each, the JSON of the answer, and the exception handlers for FastAPI."""

import logging
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from hubserve import errors
from hubserve.error_messages import clear_frames, without_surrogates
from hubserve.errors import HubserveError
from hubserve.service.allowed_methods import allowed_methods
from hubserve.service.missing_extensions import missing_extension
from hubserve.service.outgoing_text import ClientJSONResponse, shortened
from hubserve.storage_faults import storage_error, with_denial

log = logging.getLogger("hubserve.service")

STATUS: dict[type[HubserveError], int] = {
    errors.ImageTooLargeError: 413,
    errors.ImageError: 415,
    errors.BodyTooLargeError: 413,
    errors.HostError: 421,
    errors.RequestBodyError: 400,
    errors.EncodingError: 415,
    errors.LogitsError: 400,
    errors.TensorError: 400,
    errors.TextError: 400,
    errors.TopKError: 422,
    errors.NoFeaturesError: 422,
    errors.OtherInputsError: 422,
    errors.SlowRequestError: 408,
    errors.UnauthorizedError: 401,
    errors.ForbiddenError: 403,
    errors.RequestError: 400,
    errors.ModelNotFoundError: 404,
    errors.ModelRefusedError: 409,
    errors.AliasError: 422,
    errors.JobNotFoundError: 404,
    errors.DataInUseError: 409,
    errors.JobError: 422,
    errors.SpaceError: 422,
    errors.ArchError: 422,
    errors.CardError: 422,
    errors.OverloadedError: 503,
    errors.StorageError: 507,
}
"""The HTTP status of each exception class. The first entry of which an exception is an instance counts; others get 500."""

MOST_WRONG = 20
"""Largest number of wrong parameters that a message names."""

ERROR_HEADERS = {503: {"Retry-After": "1"}, 401: {"WWW-Authenticate": "Bearer"}}
"""Additional headers of an answer, by its status."""


class ErrorResponse(BaseModel):
    """The JSON of an answer to a request that failed, except for requests of the Open Inference Protocol.

    Attributes:
        error: "type" is the name of the exception class, and "message" says what is wrong and what to do.
    """

    error: dict[str, str]


class ProtocolErrorResponse(BaseModel):
    """The JSON of an answer to a request of the Open Inference Protocol that failed.

    Attributes:
        error: The message, which says what is wrong and what to do.
    """

    error: str


def described(*statuses: int, model: type[BaseModel] = ErrorResponse) -> dict[int | str, dict[str, Any]]:
    """Returns the error answers of a route, for the OpenAPI document.

    Args:
        statuses: HTTP statuses, each a key of `DESCRIPTIONS`.
        model: Class of the JSON of these answers.
    """
    return {status: {"model": model, "description": DESCRIPTIONS[status]} for status in statuses}


DESCRIPTIONS = {
    400: "The request cannot be read: it is not HTTP, its JSON is no UTF-8, or it has no image or text.",
    401: "No token, or a wrong one.",
    403: "The service has no token, so nobody may change anything.",
    404: "The model, job, export or alias does not exist.",
    408: "The headers or the body did not come in time.",
    409: "No version of the model can be loaded, or a job uses what would be deleted.",
    413: "Too many bytes or pixels, or an answer of too many bytes.",
    415: "Not a readable image, or a body that is compressed in an unknown way.",
    422: "A parameter is unknown or out of range, or the request describes something that cannot exist.",
    421: "The header Host has a name that the service does not answer for.",
    500: "A fault of the server, which its log describes.",
    431: "Too many or too large headers.",
    507: "A disk of the server is full, read-only, or not open to it; or the uploads would have more bytes than allowed.",
    503: "Too many requests wait, or the answer took too long; the header Retry-After says when to ask again.",
}
"""Description of each error status in the OpenAPI document."""


def error_body(error: HubserveError) -> dict[str, Any]:
    """Returns the JSON of an answer to a request that failed with `error`; see `ErrorResponse`."""
    return _body(type(error).__name__, with_denial(str(error.args[0]) if error.args else str(error), error))


def status_of(error: HubserveError) -> int:
    """Returns the HTTP status of an exception; 500 if it is an instance of no class in `STATUS`."""
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)


def error_response(error: HubserveError, *, path: str = "") -> JSONResponse:
    """Returns the answer to a request that failed with `error`. Logs the error if the status is 500.

    If a full disk or a StorageError is among the causes of `error`, the answer is that to a StorageError.

    Args:
        error: The exception.
        path: Path of the request; paths below /v2 get the JSON of the Open Inference Protocol.
    """
    error = storage_error(error) or error
    status = status_of(error)
    if status == 500:
        log.error("a request failed", exc_info=error)
    clear_frames(error)
    answer = _answer(status, error_body(error), path)
    if isinstance(error, errors.EncodingError):
        answer.headers["accept-encoding"] = error.accepted
    return answer


def problem(status: int, kind: str, message: str, *, path: str = "") -> JSONResponse:
    """Returns the answer to a request that failed for a reason that is not a `HubserveError`.

    Args:
        status: HTTP status of the answer.
        kind: Name of the error, which is the "type" in the JSON.
        message: What is wrong.
        path: Path of the request; paths below /v2 get the JSON of the Open Inference Protocol.
    """
    return _answer(status, _body(kind, message), path)


def _body(kind: str, message: str) -> dict[str, Any]:
    """Returns the JSON of an error, with its message shortened.

    JSON may have half of a surrogate pair as an escape, and file names bytes that are not UTF-8: a message that quotes one is
    sent with an escape in its place.
    """
    return {"error": {"type": kind, "message": shortened(without_surrogates(message))}}


def _answer(status: int, content: dict[str, Any], path: str) -> JSONResponse:
    """Returns a response with the JSON of an error, in the format that `path` asks for."""
    if path == "/v2" or path.startswith("/v2/"):
        # The Open Inference Protocol has the message alone.
        content = {"error": content["error"]["message"]}
    return ClientJSONResponse(content, status_code=status, headers=ERROR_HEADERS.get(status))


async def refuse(request: Request, error: Exception) -> JSONResponse:
    """Exception handler for all `HubserveError`s, and for exceptions without another handler, which it answers with 500."""
    path = request.url.path
    if isinstance(error, HubserveError):
        return error_response(error, path=path)
    return problem(500, "InternalError", "see the server's log", path=path)


async def refuse_storage(request: Request, error: Exception) -> JSONResponse:
    """Exception handler for `OSError`. Answers faults of the storage with 507 and raises all other errors again."""
    fault = storage_error(error)
    if fault is None:
        raise error
    return error_response(fault, path=request.url.path)


async def refuse_parameter(request: Request, error: Exception) -> JSONResponse:
    """Exception handler for parameters and JSON bodies that fail validation; answers with 422."""
    wrong = error.errors() if isinstance(error, RequestValidationError) else []
    message = "; ".join(f"{_where(entry)}: {entry['msg']}" for entry in wrong[:MOST_WRONG])
    return problem(422, "ParameterError", message, path=request.url.path)


async def refuse_route(request: Request, error: Exception) -> JSONResponse:
    """Exception handler for `HTTPException`, such as 404 for an unknown path and 405 for a method that a path does not have.

    Answers with the status and headers of the exception, and for 405 with the header Allow. A path of an extension of the Open
    Inference Protocol that this service lacks gets a message that says what there is instead.
    """
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
    path = request.url.path
    message = (missing_extension(path) if status == 404 else None) or str(detail)
    answer = problem(status, "HTTPError", message, path=path)
    answer.headers.update(getattr(error, "headers", None) or {})
    if status == 405:
        answer.headers["allow"] = ", ".join(allowed_methods(request.app.routes, request.scope["path"]))
    return answer


async def refuse_disconnected(request: Request, _: Exception) -> JSONResponse:
    """Exception handler for clients that disconnect before their request is complete. The answer is never read."""
    return problem(400, "ClientDisconnect", "the client disconnected before its request was complete", path=request.url.path)


def _where(entry: Any) -> str:
    """Returns the name of a wrong parameter, and its value if it has one."""
    name = ".".join(str(part) for part in entry["loc"] if part not in ("body", "query", "path", "form")) or "the body"
    return f"{name} = {repr(entry['input'])[:200]}" if "input" in entry else name


HANDLERS: dict[Any, Any] = {
    HubserveError: refuse,
    RequestValidationError: refuse_parameter,
    HTTPException: refuse_route,
    ClientDisconnect: refuse_disconnected,
    OSError: refuse_storage,
    Exception: refuse,
}
"""The exception handlers for FastAPI, by exception class."""
