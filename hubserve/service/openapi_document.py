"""`openapi_document`: describes all routes of the service, with every status that they answer with, as OpenAPI 3.1.

FastAPI describes its routes. What it does not know is added here: the paths that BentoML answers, the answers of the server and
the middleware, which any request may get, and schemas of bodies that routes read themselves.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from hubserve import __version__
from hubserve.service.error_responses import DESCRIPTIONS, ErrorResponse, ProtocolErrorResponse
from hubserve.service.openapi_schemas import schema_of, schemas

DESCRIPTION = (
    "Classification with searched neural architectures: classify images and texts, look at the models that are served, "
    "export them and start searches and fine-tunings. Clients of KServe and Triton use the paths below /v2 (Open Inference "
    "Protocol)."
)

TAGS = {
    "classify": "Classes and features of images, and classes of texts.",
    "models": "The models in the store.",
    "aliases": "Names that stand for a model, with a canary for a share of the requests.",
    "exports": "Exports of models as packages.",
    "jobs": "Searches and fine-tunings, and their data.",
    "Open Inference Protocol": "Inference, metadata and health, for clients of KServe and Triton.",
    "service": "Health, metrics and descriptions of the service itself.",
}
"""Descriptions of the groups of routes."""

COMMON = (400, 408, 413, 415, 421, 422, 431, 500, 503, 507)
"""Statuses that any request may be answered with: by the server, by the checks before the route, or by a fault."""

BENTOML_PATHS = {
    "/livez": ("is_alive", "Whether the server runs", "text/plain"),
    "/healthz": ("is_healthy", "Whether the server runs; the older name of /livez", "text/plain"),
    "/readyz": ("is_ready", "Whether the default model is loaded", "text/plain"),
    "/metrics": ("read_metrics", "The metrics in the format of Prometheus", "text/plain"),
    "/schema.json": ("describe_to_bentoml", "The description that BentoML's own client reads", "application/json"),
}
"""Paths that BentoML answers: id of the operation, summary, and content type."""

OPEN_PATHS = ("/livez", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")
"""Paths that need no token."""


def openapi_document(api: FastAPI) -> dict[str, Any]:
    """Returns the OpenAPI document of the service.

    Args:
        api: The application with our routes.
    """
    document = get_openapi(
        title="hubserve",
        version=__version__,
        openapi_version="3.1.0",
        description=DESCRIPTION,
        routes=api.routes,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        servers=[{"url": "."}],
    )
    error_schemas = schema_of(ErrorResponse), schema_of(ProtocolErrorResponse)
    document["paths"] |= {path: {"get": _bentoml_operation(path)} for path in BENTOML_PATHS}
    components = document["components"]
    components["schemas"] = {**components["schemas"], **schemas()}
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own answer for 422, which is replaced by ours.
        components["schemas"].pop(name, None)
    (scheme,) = components["securitySchemes"]
    for path, operations in document["paths"].items():
        error = error_schemas[path == "/v2" or path.startswith("/v2/")]
        for operation in operations.values():
            _complete(path, operation, error, scheme)
    return document


def _bentoml_operation(path: str) -> dict[str, Any]:
    """Returns the description of a path that BentoML answers."""
    identity, summary, kind = BENTOML_PATHS[path]
    schema = {"type": "object"} if kind == "application/json" else {"type": "string"}
    return {
        "tags": ["service"],
        "summary": summary,
        "operationId": identity,
        "responses": {"200": {"description": "Successful Response", "content": {kind: {"schema": schema}}}},
    }


def _complete(path: str, operation: dict[str, Any], error: dict[str, str], scheme: str) -> None:
    """Adds the statuses that any request may get, and which token is needed.

    Args:
        path: Path of the operation.
        operation: Description of the operation, which is changed.
        error: Reference to the schema of an error.
        scheme: Name of the security scheme with the tokens.
    """
    responses = operation["responses"]
    is_open = path in OPEN_PATHS
    # FastAPI describes a 422 for each route with parameters, with a schema of its own.
    known = {int(status) for status, answer in responses.items() if "HTTPValidationError" not in str(answer)}
    for status in sorted({*COMMON, *(() if is_open else (401,))} - known):
        responses[str(status)] = {"description": DESCRIPTIONS[status], "content": {"application/json": {"schema": error}}}
    operation["responses"] = dict(sorted(responses.items()))
    # Reading needs a token only if the server has one for it, changing always.
    if not is_open and "security" not in operation:
        operation["security"] = [{}, {scheme: []}]
