"""Routes below /v2, the Open Inference Protocol for clients of KServe and Triton: inference, metadata and health."""

from functools import partial
from typing import Any

import numpy as np
from anyio import to_thread
from fastapi import APIRouter, Request, Response

from hubserve import __version__
from hubserve.errors import TensorError
from hubserve.service import inference_protocol as protocol
from hubserve.service.engine import Answer
from hubserve.service.error_responses import ProtocolErrorResponse, described, problem
from hubserve.service.inference_answer import EncodedAnswer, write_answer
from hubserve.service.loaded_model import LoadedModel
from hubserve.service.service_state import ServiceState

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

_SCHEMA = protocol.InferRequest.model_json_schema(ref_template="#/components/schemas/{model}")
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _SCHEMA},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_described = partial(described, model=ProtocolErrorResponse)
_ERRORS = _described(400, 401, 404, 408, 409, 413, 415, 422, 503)


@router.get("", summary="The server")
async def server() -> dict[str, Any]:
    """Answers with the name, the version and the protocol extensions of the server."""
    return {"name": "hubserve", "version": __version__, "extensions": ["binary_tensor_data", "classification"]}


@router.get("/health/live", summary="Whether it runs")
async def live() -> dict[str, bool]:
    """Answers with {"live": true}, always."""
    return {"live": True}


@router.get("/health/ready", summary="Whether a model answers", responses=_described(503), response_model=None)
async def ready(request: Request) -> dict[str, bool] | Response:
    """Answers with {"ready": true} if the default model is loaded.

    If it is not, or the server is shutting down, answers with 503 and the reason.
    """
    shared: ServiceState = request.app.state.shared
    why = await shared.why_not_ready()
    return {"ready": True} if why is None else problem(503, *why, path=request.url.path)


@router.get("/models/{name}", summary="A model", responses=_described(401, 404, 409))
@router.get("/models/{name}/versions/{version}", summary="A version of a model", responses=_described(401, 404, 409))
async def model(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """Answers with the versions, inputs and outputs of a model. Loads the model if it is not loaded."""
    served = await _served(request, name, version)
    manifest = served.engine.manifest
    size, classes = manifest.preprocess.input_size, manifest.classes
    widths = dict(zip(protocol.OUTPUTS, (classes, classes, served.engine.feature_width), strict=True))
    shared: ServiceState = request.app.state.shared
    base = served.tag.partition(":")[0]
    return {
        "name": name,
        "versions": [stored.tag.partition(":")[2] for stored in shared.resolver.models if stored.name == base],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": protocol.IMAGES, "datatype": "FP32", "shape": [-1, 3, size, size]},
            {"name": protocol.PICTURES, "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [
            {"name": output, "datatype": "FP32", "shape": [-1, width]} for output, width in widths.items() if width is not None
        ],
    }


@router.get("/models/{name}/ready", summary="Whether a model answers", responses=_described(401, 404, 409))
@router.get("/models/{name}/versions/{version}/ready", summary="Whether a version answers", responses=_described(401, 404, 409))
async def model_ready(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """Answers with {"name": ..., "ready": true}. Loads the model first if it is not loaded."""
    await _served(request, name, version)
    return {"name": name, "ready": True}


@router.post("/models/{name}/infer", summary="Classify", responses=_ERRORS, openapi_extra=_BODY)
@router.post("/models/{name}/versions/{version}/infer", summary="Classify by a version", responses=_ERRORS, openapi_extra=_BODY)
async def infer(request: Request, name: str, version: str | None = None) -> Response:
    """Classifies images. The only input is `images`, prepared tensors, or `pictures`, which are image files."""
    shared: ServiceState = request.app.state.shared
    shared.queue.check_room()
    if request.headers.get("content-encoding", "identity") != "identity":
        raise TensorError("the body is compressed; send it as it is")
    async with shared.body_reader.body(request) as body, shared.awaited(request):
        header = request.headers.get(protocol.HEADER)
        asked = await to_thread.run_sync(partial(protocol.read_request, max_images=shared.settings.max_images), body, header)
        served = await _served(request, name, version)
        outcomes = await shared.run(served, asked.images, 1, features=asked.wants_features)
        head = {"model_name": name, "model_version": served.tag.partition(":")[2]}
        most = int(shared.settings.max_body_mb * 1e6)
        answer = await to_thread.run_sync(_written, asked.request, head, outcomes, served, most)
    kind = "application/json" if answer.json_length is None else "application/octet-stream"
    headers = {} if answer.json_length is None else {protocol.HEADER: str(answer.json_length)}
    return Response(answer.body, media_type=kind, headers=headers)


def _written(
    request: protocol.InferRequest, head: dict[str, str], outcomes: list[Answer | BaseException], served: LoadedModel, most: int
) -> EncodedAnswer:
    """Returns the encoded answer. If an image has an error, raises the first one."""
    answers = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        answers.append(outcome)
    engine = served.engine
    features = [answer.features for answer in answers if answer.features is not None]
    return write_answer(
        request,
        head,
        np.stack([answer.logits for answer in answers]),
        engine.labels,
        max_bytes=most,
        temperature=engine.temperature,
        features=np.stack(features) if features else None,
    )


async def _served(request: Request, name: str, version: str | None) -> LoadedModel:
    """Returns the loaded model that answers for a name, or for a version of it. Raises as `LiveModels.get` does."""
    shared: ServiceState = request.app.state.shared
    return await shared.live_models.get(name if version is None else f"{name}:{version}")
