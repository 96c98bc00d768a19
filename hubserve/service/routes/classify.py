"""The route POST /classify: answers with the most likely classes of the images in a request."""

from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from hubserve.errors import HubserveError, TopKError
from hubserve.package.predictions import TOP_K, Prediction
from hubserve.service.engine import Answer
from hubserve.service.error_responses import ErrorResponse, described, error_response, refuse_parameter
from hubserve.service.image_responses import images_response
from hubserve.service.openapi_schemas import schema_of
from hubserve.service.request_images import FIELD, JsonImages, images_of
from hubserve.service.service_state import ServiceState
from hubserve.service.unknown_parameters import only_parameters, validated

PATH = "/classify"

MAX_PREDICTIONS = 50_000
"""Largest number of predictions in an answer, which are some megabytes of JSON."""

LARGE = 500
"""Number of predictions from which an answer is encoded in a thread, because encoding takes longer than about a millisecond."""

router = APIRouter(tags=["classify"])


class ClassifyResponse(BaseModel):
    """The answer for one image.

    Attributes:
        model: Tag of the version that classified the image.
        predictions: The most likely classes with their probabilities, the most likely one first.
        timing_ms: Durations in milliseconds: "decode" is that of decoding and preprocessing the image, "infer" that of
            inference for the batch with the image.
    """

    model: str
    predictions: list[Prediction]
    timing_ms: dict[str, float]


class ClassifyResponses(BaseModel):
    """The answer for several images.

    Attributes:
        results: For each image, in the order of the request, its answer or its error.
    """

    results: list[ClassifyResponse | ErrorResponse]


ModelName = Annotated[str | None, Field(description="Name, tag or alias; the service's default unless given.")]


class ClassifyQuery(BaseModel):
    """The query parameters of /classify and /classify-text.

    Attributes:
        model: Name, tag or alias of the model; None takes the default model.
        top_k: Number of classes in the answer, at least 1; None takes 5, or all if the model has fewer.
    """

    model_config = ConfigDict(frozen=True)

    model: ModelName = None
    top_k: Annotated[int | None, Field(ge=1, description="How many classes to name; 5 unless given.")] = None


_NO_PARAMETERS = ClassifyQuery()

_check_parameters = only_parameters(*ClassifyQuery.model_fields)
"""FastAPI dependency that refuses unknown query parameters."""

_BINARY = {"type": "string", "format": "binary"}
_FORM = {
    "type": "object",
    "title": "FormImages",
    "required": [FIELD],
    "properties": {
        FIELD: {"type": "array", "items": _BINARY, "minItems": 1},
        "model": {"type": "string"},
        "top_k": {"type": "integer", "minimum": 1},
    },
}
IMAGE_BODY = {
    "required": True,
    "content": {
        "image/*": {"schema": _BINARY},
        "application/octet-stream": {"schema": _BINARY},
        "multipart/form-data": {"schema": _FORM},
        "application/json": {"schema": schema_of(JsonImages)},
    },
}
"""Description, in OpenAPI, of a body with images; see `images_of`."""


@router.post(
    PATH,
    summary="Classify images",
    name="classify",
    dependencies=[Depends(_check_parameters)],
    responses={200: {"model": ClassifyResponse | ClassifyResponses}, **described(400, 401, 404, 408, 409, 413, 415, 422, 503)},
    openapi_extra={"requestBody": IMAGE_BODY},
)
async def classify(request: Request, query: Annotated[ClassifyQuery, Query()]) -> Response:
    """Answers with the most likely classes of the image in the body, in the form field `image`, or in JSON as base64.

    Several images in one request, and `images` in JSON, are answered with a list. The parameters may be in the body instead of
    the query, unless the body is an image. More than 50,000 predictions in one answer are refused with 422.
    """
    return await _classified(request, request.app.state.shared, query)


async def answer_directly(request: Request, shared: ServiceState) -> Response:
    """Returns the same answer as the route `classify`, but without FastAPI's layers, which take time.

    Errors of hubserve and wrong parameters are answered, too. Other exceptions are raised.

    Args:
        request: The request.
        shared: State that all requests share.

    Raises:
        ClientDisconnect: The client has disconnected.
    """
    try:
        if not request.scope["query_string"]:
            return await _classified(request, shared, _NO_PARAMETERS)
        await _check_parameters(request)
        return await _classified(request, shared, validated(ClassifyQuery, dict(request.query_params)))
    except HubserveError as error:
        return error_response(error)
    except RequestValidationError as error:
        return await refuse_parameter(request, error)


async def _classified(request: Request, shared: ServiceState, query: ClassifyQuery) -> Response:
    """Reads the body of a request, classifies its images and returns the answer.

    Raises:
        HubserveError: The request is refused.
        RequestValidationError: A parameter is unknown or wrong, in the query or in the body.
        ClientDisconnect: The client has disconnected.
    """
    # Before the body is read: under overload a refusal must cost next to nothing.
    shared.queue.check_room()
    async with shared.body_reader.body(request) as body, shared.awaited(request):
        known = ClassifyQuery.model_fields
        images = await images_of(request, body, max_images=shared.settings.max_images, parameters=known)
        if images.parameters:
            query = validated(ClassifyQuery, {**query.model_dump(exclude_unset=True), **images.parameters})
        predictions = check_predictions(query, len(images.data), "images")
        outcomes = await shared.runs.classify(query.model, images.data, query.top_k)
        if predictions > LARGE:
            return await to_thread.run_sync(images_response, outcomes, images.several, _result)
        return images_response(outcomes, images.several, _result)


def check_predictions(query: ClassifyQuery, count: int, what: str) -> int:
    """Returns the largest number of predictions that an answer to a request can have, for all its images or texts together.

    Args:
        query: The parameters of the request.
        count: Number of images, or texts, of the request.
        what: "images" or "texts", for the message.

    Raises:
        TopKError: There are more than `MAX_PREDICTIONS`.
    """
    predictions = (query.top_k or TOP_K) * count
    if predictions > MAX_PREDICTIONS:
        raise TopKError(
            f"{query.top_k} classes for each of {count} {what} are more than {MAX_PREDICTIONS:,} in one answer; ask for fewer "
            f"classes, or send fewer {what}"
        )
    return predictions


def _result(tag: str, answer: Answer) -> dict[str, Any]:
    """Returns the result of one image, which pydantic can encode as JSON."""
    return {
        "model": tag,
        "predictions": answer.predictions,
        "timing_ms": {"decode": round(answer.decode_ms, 2), "infer": round(answer.infer_ms, 2)},
    }
