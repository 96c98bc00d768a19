"""The route GET /docs.json: answers with the OpenAPI document of the service."""

import json

from fastapi import APIRouter, Depends, Request, Response

from hubserve.service.error_responses import described
from hubserve.service.openapi_document import openapi_document
from hubserve.service.unknown_parameters import only_parameters

PATH = "/docs.json"

router = APIRouter(tags=["service"])


@router.get(
    PATH,
    summary="This description",
    name="describe_service",
    dependencies=[Depends(only_parameters())],
    responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}}, **described(401, 422)},
)
async def document(request: Request) -> Response:
    """Answers with the OpenAPI document of the service, from which clients can be generated."""
    state = request.app.state
    if not hasattr(state, "openapi"):
        state.openapi = json.dumps(openapi_document(request.app), separators=(",", ":")).encode()
    return Response(state.openapi, media_type="application/json")
