"""The HTTP interface: routes, what they take and answer, and which error becomes which status."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

import anyio.to_thread
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from hubserve import __version__, store
from hubserve.errors import (
    FormError,
    HubserveError,
    ImageError,
    ImageTooLargeError,
    ModelNotFoundError,
    OverloadedError,
    TopKError,
)
from hubserve.hub.card import Metric
from hubserve.service.body import FIELD, JsonPictures, read_pictures
from hubserve.service.engine import Answer, Engine, Engines, Prediction
from hubserve.service.page import router as page_router
from hubserve.service.pool import Pool
from hubserve.service.settings import Settings

log = logging.getLogger("hubserve.service")

Outcome = tuple[str, Answer] | BaseException
"""Of one picture: the tag that answered with its answer, or what was wrong."""

NEWEST = ""
"""Asks for the newest model in the store, whatever its name."""

STATUS: dict[type[HubserveError], int] = {
    ImageTooLargeError: 413,
    ImageError: 415,
    FormError: 400,
    TopKError: 422,
    ModelNotFoundError: 404,
    OverloadedError: 503,
}
"""Error -> status; the first that fits, in this order. All others are faults of the server."""


class Problem(BaseModel):
    """Every error.

    Attributes:
        error: its "type" and its "message", which says how to go on.
    """

    error: dict[str, str]


class Classification(BaseModel):
    """Answer of /classify to one picture.

    Attributes:
        model: tag of the version that answered.
        predictions: most likely class first.
        timing_ms: of decoding with preprocessing, and of inference of the batch that the picture was in.
    """

    model: str
    predictions: list[Prediction]
    timing_ms: dict[str, float]


class Classifications(BaseModel):
    """Answer of /classify to several pictures.

    Attributes:
        results: for each picture, in the order in which they came, what one alone would have got: its answer or an error.
    """

    results: list[Classification | Problem]


class ModelEntry(BaseModel):
    """One version in the store.

    Attributes:
        tag: "name:version".
        created: when it was published.
        space: class name of its model space.
        classes: how many it tells apart.
        input_size: height and width in pixels that it sees.
        metric: published accuracy.
        licence: of its weights.
        default: whether it answers where a request names no model.
    """

    tag: str
    created: datetime
    space: str
    classes: int
    input_size: int
    metric: Metric | None
    licence: str | None
    default: bool


_BODY = {
    "required": True,
    "content": {
        "image/*": {"schema": {"type": "string", "format": "binary"}},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FIELD],
                "properties": {FIELD: {"type": "array", "items": {"type": "string", "format": "binary"}}},
            }
        },
        "application/json": {"schema": JsonPictures.model_json_schema()},
    },
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The form is damaged or has no picture."},
    404: {"model": Problem, "description": "The store has no such model."},
    413: {"model": Problem, "description": "Too many bytes or pixels."},
    415: {"model": Problem, "description": "Not a readable picture."},
    422: {"model": Problem, "description": "A parameter is out of range."},
    503: {"model": Problem, "description": "Too many pictures wait; the header Retry-After says when to ask again."},
}


class State:
    """What requests share: engines, and the threads that run them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engines = Engines(self._load, self._resolve, resolve_seconds=settings.resolve_seconds)
        self.pool = Pool(
            self.engines.get, threads=settings.threads, max_batch=settings.max_batch, max_waiting=settings.max_waiting
        )

    async def classify(self, pictures: Sequence[bytes], model: str | None, top_k: int | None) -> list[Outcome]:
        """One outcome a picture; raises OverloadedError before any of them is looked at."""
        submitted = self.pool.submit(model or self.settings.model or NEWEST, pictures, top_k)
        return await asyncio.gather(*map(asyncio.wrap_future, submitted), return_exceptions=True)

    def warm_up(self) -> None:
        """Loads the default model, where there is one already."""
        try:
            tag, engine = self.engines.get(self.settings.model or NEWEST)
        except HubserveError as error:
            log.warning("no model is ready yet: %s", error)
        else:
            log.info("%s answers on %s", tag, engine.device)
        # torch leaves a million objects that live as long as the process; walking them is what makes the slowest answers.
        gc.collect()
        gc.freeze()

    def _load(self, tag: str) -> Engine:
        max_pixels = int(self.settings.max_megapixels * 1e6)
        engine = Engine(store.resolve(tag).package, device=self.settings.device, max_pixels=max_pixels)
        engine.warm_up()
        return engine

    def _resolve(self, name: str) -> str:
        if name == NEWEST:
            models = store.list_models()
            if models:
                return models[0].tag
            raise ModelNotFoundError("the store is empty: `hubserve publish efficientnet-lite0` fills it")
        return store.resolve(name).tag


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    shared = State(Settings.from_environment())
    app.state.shared = shared
    await anyio.to_thread.run_sync(shared.warm_up)
    yield
    await anyio.to_thread.run_sync(shared.pool.close)


api = FastAPI(title="hubserve", version=__version__, lifespan=_lifespan, openapi_url=None, docs_url=None, redoc_url=None)
api.include_router(page_router)


@api.post(
    "/classify",
    summary="Classify pictures",
    responses={200: {"model": Classification | Classifications}, **_ERRORS},
    openapi_extra={"requestBody": _BODY},
)
async def classify(
    request: Request,
    model: Annotated[str | None, Query(description="Name or tag; the service's default unless given.")] = None,
    top_k: Annotated[int | None, Query(ge=1, description="How many classes to name; 5 unless given.")] = None,
) -> JSONResponse:
    """Names the most likely classes of a picture: the body, the field `image` of a form, or base64 in JSON.

    Several pictures in one request get a list of answers.
    """
    shared: State = request.app.state.shared
    settings = shared.settings
    pictures = await read_pictures(request, max_bytes=int(settings.max_body_mb * 1e6), max_pictures=settings.max_pictures)
    outcomes = await shared.classify(pictures.data, model, top_k)
    if pictures.several:
        return JSONResponse({"results": [_result(outcome) for outcome in outcomes]})
    (outcome,) = outcomes
    if isinstance(outcome, BaseException):
        raise outcome
    return JSONResponse(_result(outcome))


def _result(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, HubserveError):
        return _problem_of(outcome)
    if isinstance(outcome, BaseException):
        raise outcome
    tag, answer = outcome
    return {
        "model": tag,
        "predictions": [prediction.model_dump() for prediction in answer.predictions],
        "timing_ms": {"decode": round(answer.decode_ms, 2), "infer": round(answer.infer_ms, 2)},
    }


@api.get("/models", summary="List the models", response_model=list[ModelEntry])
async def models(request: Request) -> list[ModelEntry]:
    """Every version in the store, newest first."""
    shared: State = request.app.state.shared
    return await anyio.to_thread.run_sync(_list_models, shared.settings.model)


def _list_models(default: str | None) -> list[ModelEntry]:
    stored = store.list_models()
    answering = store.resolve(default).tag if default else (stored[0].tag if stored else None)
    return [_entry(model, is_default=model.tag == answering) for model in stored]


def _entry(model: store.StoredModel, *, is_default: bool) -> ModelEntry:
    manifest = model.package.manifest
    return ModelEntry(
        tag=model.tag,
        created=model.created,
        space=manifest.space,
        classes=manifest.classes,
        input_size=manifest.preprocess.input_size,
        metric=manifest.provenance.metric,
        licence=manifest.provenance.licence,
        default=is_default,
    )


def _problem_of(error: HubserveError) -> dict[str, Any]:
    return {"error": {"type": type(error).__name__, "message": str(error)}}


def _problem(status: int, kind: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"type": kind, "message": message}}, status_code=status)


@api.exception_handler(HubserveError)
async def _refuse(_: Request, error: Exception) -> JSONResponse:
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)
    if status == 500:
        log.error("a request failed", exc_info=error)
    answer = _problem(status, type(error).__name__, str(error))
    if status == 503:
        answer.headers["Retry-After"] = "1"
    return answer


@api.exception_handler(RequestValidationError)
async def _refuse_parameter(_: Request, error: Exception) -> JSONResponse:
    wrong = error.errors() if isinstance(error, RequestValidationError) else []
    told = "; ".join(f"{entry['loc'][-1]} = {entry.get('input')!r}: {entry['msg']}" for entry in wrong)
    return _problem(422, "ParameterError", told)


@api.exception_handler(ClientDisconnect)
async def _nobody_there(_: Request, __: Exception) -> JSONResponse:
    return _problem(400, "ClientDisconnect", "the client left before its request was whole")
