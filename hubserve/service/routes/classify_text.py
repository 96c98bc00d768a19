"""The route POST /classify-text: answers with the most likely classes of the texts in a request."""

from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel

from hubserve.package.predictions import Prediction
from hubserve.service.engine import Answer
from hubserve.service.error_responses import ErrorResponse, described
from hubserve.service.image_responses import images_response
from hubserve.service.openapi_schemas import schema_of
from hubserve.service.request_texts import JSON, PLAIN, JsonTexts, texts_of
from hubserve.service.routes.classify import LARGE, ClassifyQuery, check_predictions
from hubserve.service.service_state import ServiceState
from hubserve.service.unknown_parameters import only_parameters, validated

PATH = "/classify-text"

router = APIRouter(tags=["classify"])


class ClassifyTextResponse(BaseModel):
    """The answer for one text.

    Attributes:
        model: Tag of the version that classified the text.
        predictions: The most likely classes with their probabilities, the most likely one first.
        timing_ms: Durations in milliseconds: "tokenize" is that of turning the text into tokens, "infer" that of inference for
            the batch with the text.
    """

    model: str
    predictions: list[Prediction]
    timing_ms: dict[str, float]


class ClassifyTextResponses(BaseModel):
    """The answer for several texts.

    Attributes:
        results: For each text, in the order of the request, its answer or its error.
    """

    results: list[ClassifyTextResponse | ErrorResponse]


_BODY = {
    "required": True,
    "content": {PLAIN: {"schema": {"type": "string"}}, JSON: {"schema": schema_of(JsonTexts)}},
}
"""Description, in OpenAPI, of a body with texts; see `texts_of`."""


@router.post(
    PATH,
    summary="Classify texts",
    name="classify_text",
    dependencies=[Depends(only_parameters(*ClassifyQuery.model_fields))],
    responses={
        200: {"model": ClassifyTextResponse | ClassifyTextResponses},
        **described(400, 401, 404, 408, 409, 413, 415, 422, 503),
    },
    openapi_extra={"requestBody": _BODY},
)
async def classify_text(request: Request, query: Annotated[ClassifyQuery, Query()]) -> Response:
    """Answers with the most likely classes of the text in the body, which is plain text, or JSON with `text` or `texts`.

    `texts` are answered with a list. The parameters may be in the JSON instead of the query. A text with more tokens than the
    model takes is cut at its end. More than 50,000 predictions in one answer are refused with 422.
    """
    shared: ServiceState = request.app.state.shared
    # Before the body is read: under overload a refusal must cost next to nothing.
    shared.queue.check_room()
    most = int(shared.settings.max_body_mb * 1e6)
    async with shared.body_reader.body(request, most=most) as body, shared.awaited(request):
        known = ClassifyQuery.model_fields
        texts = await texts_of(request, body, max_texts=shared.settings.max_images, parameters=known)
        if texts.parameters:
            query = validated(ClassifyQuery, {**query.model_dump(exclude_unset=True), **texts.parameters})
        predictions = check_predictions(query, len(texts.data), "texts")
        outcomes = await shared.runs.classify_texts(query.model, texts.data, query.top_k)
        if predictions > LARGE:
            return await to_thread.run_sync(images_response, outcomes, texts.several, _result)
        return images_response(outcomes, texts.several, _result)


def _result(tag: str, answer: Answer) -> dict[str, Any]:
    """Returns the result of one text, which pydantic can encode as JSON."""
    return {
        "model": tag,
        "predictions": answer.predictions,
        "timing_ms": {"tokenize": round(answer.decode_ms, 2), "infer": round(answer.infer_ms, 2)},
    }
