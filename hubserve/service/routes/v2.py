"""Routes below /v2: answer clients of KServe and Triton by the Open Inference Protocol, with metadata, health and inference."""

from functools import partial
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import ValidationError

from hubserve.errors import TensorError
from hubserve.service import inference_protocol as protocol
from hubserve.service.auth import CHANGE
from hubserve.service.engine import Answer
from hubserve.service.error_responses import ProtocolErrorResponse, described, problem
from hubserve.service.inference_answer import EncodedAnswer, InferResponse, join_outputs, stack_answers, write_answer
from hubserve.service.inference_metadata import model_configuration, model_metadata, repository_index, server_metadata
from hubserve.service.inference_texts import TextsRequest, decode_texts_or_tensors
from hubserve.service.loaded_model import LoadedModel
from hubserve.service.openapi_schemas import schema_of
from hubserve.service.service_state import ServiceState
from hubserve.service.tensor_engine import TensorEngine
from hubserve.service.tensor_protocol import TensorRequest, decode_tensors, encode_tensors
from hubserve.validation_sentence import first_mistake

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": schema_of(protocol.InferRequest)},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_described = partial(described, model=ProtocolErrorResponse)
_MODEL_ERRORS = _described(401, 404, 409)
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "application/json": {"schema": schema_of(InferResponse)},
            # The JSON, and the tensors that were asked for as bytes after it.
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        }
    },
    **_described(400, 401, 404, 408, 409, 413, 415, 422, 503),
}


@router.get("", summary="The server", name="server_metadata")
@router.get("/", include_in_schema=False)
async def server() -> dict[str, Any]:
    """Answers with the name, the version and the protocol extensions of the server."""
    return server_metadata("model_configuration")


@router.get("/health/live", summary="Whether it runs", name="server_live")
async def live() -> dict[str, bool]:
    """Answers with {"live": true}, always."""
    return {"live": True}


@router.get(
    "/health/ready", summary="Whether a model answers", name="server_ready", responses=_described(503), response_model=None
)
async def ready(request: Request) -> dict[str, bool] | Response:
    """Answers with {"ready": true} if the default model is loaded.

    If it is not, or the server is shutting down, answers with 503 and the reason.
    """
    shared: ServiceState = request.app.state.shared
    why = await shared.why_not_ready()
    return {"ready": True} if why is None else problem(503, *why, path=request.url.path)


@router.get("/models/stats", include_in_schema=False)
async def statistics(request: Request) -> None:
    """Answers with 404, as all paths of the extension "statistics"; without this route, "stats" would be a model."""
    raise HTTPException(404)


@router.get("/models/{name}", summary="A model", name="model_metadata", responses=_MODEL_ERRORS)
async def model(request: Request, name: str) -> dict[str, Any]:
    """Answers with the versions, inputs and outputs of a model. Loads the model if it is not loaded."""
    return model_metadata(request.app.state.shared, await _served(request, name, None), name)


@router.get(
    "/models/{name}/versions/{version}", summary="A version of a model", name="version_metadata", responses=_MODEL_ERRORS
)
async def model_version(request: Request, name: str, version: str) -> dict[str, Any]:
    """Answers with the versions, inputs and outputs of a version of a model. Loads it if it is not loaded."""
    return model_metadata(request.app.state.shared, await _served(request, name, version), name)


@router.get("/models/{name}/ready", summary="Whether a model answers", name="model_ready", responses=_MODEL_ERRORS)
async def model_ready(request: Request, name: str) -> dict[str, Any]:
    """Answers with {"name": ..., "ready": true}. Loads the model first if it is not loaded."""
    await _served(request, name, None)
    return {"name": name, "ready": True}


@router.get(
    "/models/{name}/versions/{version}/ready",
    summary="Whether a version answers",
    name="version_ready",
    responses=_MODEL_ERRORS,
)
async def version_ready(request: Request, name: str, version: str) -> dict[str, Any]:
    """Answers with {"name": ..., "ready": true}. Loads the version first if it is not loaded."""
    await _served(request, name, version)
    return {"name": name, "ready": True}


@router.get("/models/{name}/config", summary="A model's configuration", name="model_config", responses=_MODEL_ERRORS)
async def configuration(request: Request, name: str) -> dict[str, Any]:
    """Answers with the configuration of a model in the words of Triton. Loads the model if it is not loaded."""
    return model_configuration(request.app.state.shared, await _served(request, name, None), name)


@router.get(
    "/models/{name}/versions/{version}/config",
    summary="A version's configuration",
    name="version_config",
    responses=_MODEL_ERRORS,
)
async def version_configuration(request: Request, name: str, version: str) -> dict[str, Any]:
    """Answers with the configuration of a version in the words of Triton. Loads the version if it is not loaded."""
    return model_configuration(request.app.state.shared, await _served(request, name, version), name)


@router.post("/models/{name}/infer", summary="Run a model", name="model_infer", responses=_ANSWERS, openapi_extra=_BODY)
async def infer(request: Request, name: str) -> Response:
    """Runs a model. The only input of an image classifier is `images`, prepared tensors, or `pictures`, which are image files.

    A text classifier takes `texts`, or the token ids of its network. Another model takes the tensors that its metadata name. If
    an image or a text has an error, the whole request is refused with it.
    """
    return await _inferred(request, name, None)


@router.post(
    "/models/{name}/versions/{version}/infer",
    summary="Run a version",
    name="version_infer",
    responses=_ANSWERS,
    openapi_extra=_BODY,
)
async def version_infer(request: Request, name: str, version: str) -> Response:
    """Runs one version of a model. The request has the same body as one for a model, and the answer is the same, too."""
    return await _inferred(request, name, version)


@router.post("/repository/index", summary="The models of the store", name="repository_index", responses=_described(400, 401))
async def index(request: Request) -> list[dict[str, str]]:
    """Answers with name, version, state and reason of each version in the store.

    If the body is {"ready": true}, it answers only with those that are loaded.
    """
    shared: ServiceState = request.app.state.shared
    asked = await _repository_request(request)
    return repository_index(shared.resolver.models, shared.live_models, only_ready=asked.ready)


@router.post(
    "/repository/models/{name}/load",
    summary="Load a model",
    name="load_model",
    dependencies=CHANGE,
    responses=_described(400, 401, 403, 404, 409),
)
async def load(request: Request, name: str) -> dict[str, Any]:
    """Loads a model of the store, unless it is loaded, and answers with {}. A request for a model loads it, too.

    `parameters` in the body, which would change the model, are refused with 400.
    """
    if (await _repository_request(request)).parameters:
        raise TensorError("parameters of a model are part of its package: publish another version instead")
    await _served(request, name, None)
    return {}


async def _inferred(request: Request, name: str, version: str | None) -> Response:
    """Reads a request, runs the model and returns the answer. Raises HubserveError if the request is refused."""
    shared: ServiceState = request.app.state.shared
    shared.queue.check_room()
    async with shared.body_reader.body(request) as body, shared.awaited(request):
        header = request.headers.get(protocol.HEADER)
        served = await _served(request, name, version)
        head = {"model_name": name, "model_version": served.tag.partition(":")[2]}
        most = int(shared.settings.max_body_mb * 1e6)
        if (engine := served.tensor_engine) is not None:
            answer = await _answered_tensors(shared, served, engine, body, header, head)
        else:
            read = partial(protocol.read_request, max_images=shared.settings.max_images)
            asked = await to_thread.run_sync(read, body, header)
            features = asked.wants_features(has_features=served.image_engine.feature_width is not None)
            outcomes = await shared.runs.images(served, asked.images, 1, features=features)
            answer = await to_thread.run_sync(_written, asked.request, head, outcomes, served, most)
    kind = "application/json" if answer.json_length is None else "application/octet-stream"
    headers = {} if answer.json_length is None else {protocol.HEADER: str(answer.json_length)}
    return Response(answer.body, media_type=kind, headers=headers)


async def _answered_tensors(
    shared: ServiceState, served: LoadedModel, engine: TensorEngine, body: bytes, header: str | None, head: dict[str, str]
) -> EncodedAnswer:
    """Runs a model of other inputs than images on the tensors, or the texts, of a request.

    Raises HubserveError if the request is refused.

    Args:
        shared: State that all requests share.
        served: The model.
        engine: Its engine.
        body: The whole body of the request.
        header: Value of the header with the number of bytes that are JSON; None if there is none.
        head: "model_name" and "model_version" for the answer.
    """
    settings, signature = shared.settings, engine.signature
    most = int(settings.max_body_mb * 1e6)
    decode = decode_texts_or_tensors if served.classifies_texts else decode_tensors

    def read() -> TextsRequest | TensorRequest:
        return decode(*protocol.parse_request(body, header), signature=signature, max_rows=settings.max_images)

    asked = await to_thread.run_sync(read)
    if isinstance(asked, TextsRequest):
        outcomes = await shared.runs.texts(served, asked.texts, 1)
        return await to_thread.run_sync(_written, asked.request, head, outcomes, served, most)
    outputs = await shared.runs.tensors(served, asked.inputs)

    def write() -> EncodedAnswer:
        encoded = encode_tensors(asked.request, outputs, signature, engine.labels, max_bytes=most)
        return join_outputs(asked.request, head, encoded)

    return await to_thread.run_sync(write)


def _written(
    request: protocol.InferRequest, head: dict[str, str], outcomes: list[Answer | BaseException], served: LoadedModel, most: int
) -> EncodedAnswer:
    """Returns the encoded answer. Raises the error of the first image or text that has one, or what `write_answer` raises."""
    logits, features = stack_answers(outcomes, request.inputs[0].name)
    engine = served.classifier
    return write_answer(
        request,
        head,
        logits,
        engine.labels,
        max_bytes=most,
        temperature=engine.temperature,
        features=features,
    )


async def _repository_request(request: Request) -> protocol.RepositoryRequest:
    """Returns the body of a request to the repository; an empty one counts as {}. Raises TensorError if it is not valid."""
    try:
        # Triton's client sends JSON without saying so in a header.
        return protocol.RepositoryRequest.model_validate_json(await request.body() or b"{}")
    except ValidationError as error:
        raise TensorError(first_mistake(error, whole="the body")) from error


async def _served(request: Request, name: str, version: str | None) -> LoadedModel:
    """Returns the loaded model that answers for a name, or for a version of it. Raises as `LiveModels.get` does."""
    shared: ServiceState = request.app.state.shared
    return await shared.live_models.get(name if version is None else f"{name}:{version}")
