"""The route POST /embed: answers with the features of the images in a request."""

from functools import partial
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict

from hubserve.service.engine import Answer
from hubserve.service.error_responses import ErrorResponse, described
from hubserve.service.image_responses import images_response
from hubserve.service.request_images import images_of
from hubserve.service.routes.classify import IMAGE_BODY, ModelName
from hubserve.service.service_state import ServiceState
from hubserve.service.unknown_parameters import only_parameters, validated

PATH = "/embed"

router = APIRouter(tags=["classify"])


class EmbedResponse(BaseModel):
    """The features of one image.

    Attributes:
        model: Tag of the version that computed the features.
        features: Input of the layer that computes the logits; its length depends on the model.
    """

    model: str
    features: list[float]


class EmbedResponses(BaseModel):
    """The features of several images.

    Attributes:
        results: For each image, in the order of the request, its features or its error.
    """

    results: list[EmbedResponse | ErrorResponse]


class EmbedQuery(BaseModel):
    """The query parameters of /embed.

    Attributes:
        model: Name, tag or alias of the model; None takes the default model.
    """

    model_config = ConfigDict(frozen=True)

    model: ModelName = None


@router.post(
    PATH,
    summary="Features of images",
    name="embed",
    dependencies=[Depends(only_parameters(*EmbedQuery.model_fields))],
    responses={200: {"model": EmbedResponse | EmbedResponses}, **described(400, 401, 404, 408, 409, 413, 415, 422, 503)},
    openapi_extra={"requestBody": IMAGE_BODY},
)
async def embed(request: Request, query: Annotated[EmbedQuery, Query()]) -> Response:
    """Answers with the features of an image, which are the input of the layer that computes the logits.

    Images are sent as to /classify. Several images in one request, and `images` in JSON, are answered with a list. If the
    model's package, or the format that runs, has no features, the request is answered with 422; if the answer would be larger
    than the setting `max_body_mb`, with 413.
    """
    shared: ServiceState = request.app.state.shared
    # Before the body is read: under overload a refusal must cost next to nothing.
    shared.queue.check_room()
    async with shared.body_reader.body(request) as body, shared.awaited(request):
        known = EmbedQuery.model_fields
        images = await images_of(request, body, max_images=shared.settings.max_images, parameters=known)
        if images.parameters:
            query = validated(EmbedQuery, {**query.model_dump(exclude_unset=True), **images.parameters})
        outcomes = await shared.runs.classify(query.model, images.data, 1, features=True)
        most = int(shared.settings.max_body_mb * 1e6)
        return await to_thread.run_sync(partial(images_response, max_bytes=most), outcomes, images.several, _result)


def _result(tag: str, answer: Answer) -> dict[str, Any]:
    """Returns the JSON of the result of one image."""
    return {"model": tag, "features": [] if answer.features is None else answer.features.tolist()}
