"""POST /classify: pictures in, classes out."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hubserve.errors import HubserveError
from hubserve.service.engine import Prediction
from hubserve.service.error_responses import ErrorResponse, described, error_body, error_response, refuse_parameter
from hubserve.service.request_images import FIELD, JsonImages, images_of
from hubserve.service.service_state import Outcome, ServiceState

PATH = "/classify"

router = APIRouter(tags=["classify"])


class ClassifyResponse(BaseModel):
    """Answer to one picture.

    Attributes:
        model: tag of the version that answered.
        predictions: most likely class first.
        timing_ms: of decoding with preprocessing, and of inference of the batch that the picture was in.
    """

    model: str
    predictions: list[Prediction]
    timing_ms: dict[str, float]


class ClassifyResponses(BaseModel):
    """Answer to several pictures.

    Attributes:
        results: for each picture, in the order in which they came, what one alone would have got: its answer or an error.
    """

    results: list[ClassifyResponse | ErrorResponse]


class ClassifyQuery(BaseModel):
    """What a request may ask for, in its query."""

    model_config = ConfigDict(frozen=True)

    model: Annotated[str | None, Field(description="Name, tag or alias; the service's default unless given.")] = None
    top_k: Annotated[int | None, Field(ge=1, description="How many classes to name; 5 unless given.")] = None


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
        "application/json": {"schema": JsonImages.model_json_schema()},
    },
}


@router.post(
    PATH,
    summary="Classify pictures",
    responses={200: {"model": ClassifyResponse | ClassifyResponses}, **described(400, 401, 404, 408, 409, 413, 415, 422, 503)},
    openapi_extra={"requestBody": _BODY},
)
async def classify(request: Request, wish: Annotated[ClassifyQuery, Query()]) -> JSONResponse:
    """Names the most likely classes of a picture: the body, the field `image` of a form, or base64 in JSON.

    Several pictures in one request get a list of answers.
    """
    return await _classified(request, request.app.state.shared, wish)


async def answer_directly(request: Request, shared: ServiceState) -> JSONResponse:
    """What the route answers, errors too, without the layers around it."""
    try:
        return await _classified(request, shared, ClassifyQuery.model_validate(dict(request.query_params)))
    except HubserveError as error:
        return error_response(error)
    except ValidationError as error:
        return await refuse_parameter(request, RequestValidationError(error.errors()))


async def _classified(request: Request, shared: ServiceState, wish: ClassifyQuery) -> JSONResponse:
    # Once before the body is read: under overload, refusing must cost next to nothing.
    shared.check_capacity()
    async with shared.read_body(request) as body, shared.in_time():
        pictures = await images_of(request, body, max_pictures=shared.settings.max_pictures)
        outcomes = await shared.classify(wish.model, pictures.data, wish.top_k)
    if pictures.several:
        return JSONResponse({"results": [_result(outcome) for outcome in outcomes]})
    (outcome,) = outcomes
    if isinstance(outcome, BaseException):
        raise outcome
    return JSONResponse(_result(outcome))


def _result(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, HubserveError):
        return error_body(outcome)
    if isinstance(outcome, BaseException):
        raise outcome
    tag, answer = outcome
    return {
        "model": tag,
        "predictions": [prediction.model_dump() for prediction in answer.predictions],
        "timing_ms": {"decode": round(answer.decode_ms, 2), "infer": round(answer.infer_ms, 2)},
    }
