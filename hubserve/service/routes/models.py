"""Routes below /models: list the versions in the store, and show card, drawing, latency profile and accuracy of one."""

from datetime import datetime
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel

from hubserve.cards.card import Metric
from hubserve.errors import HubserveError, ModelNotFoundError
from hubserve.package.accuracy_report import AccuracyReport
from hubserve.package.manifest import Manifest, TestFigures
from hubserve.package.text_tokenizer import TOKENIZER
from hubserve.service.error_responses import described
from hubserve.service.outgoing_text import ClientJSONResponse
from hubserve.service.routes.in_browser import why_not_in_browser
from hubserve.service.service_state import ServiceState
from hubserve.service.unknown_parameters import only_parameters
from hubserve.service.unreadable_package import refused_if_unreadable
from hubserve.store import StoredModel

router = APIRouter(tags=["models"])

PLAIN = [Depends(only_parameters())]
PAGED = [Depends(only_parameters("limit", "after"))]

MOST = 1000
"""Largest number of versions in one answer."""


class ModelEntry(BaseModel):
    """One version in the store; what its package does not contain, or the server cannot read, is null.

    What is read from the package is null for a refused version, too.

    Attributes:
        tag: Tag of the version, "name:version".
        created: Time at which the version was published.
        space: Class name of its model space.
        classes: Number of classes; 0 if the model is no classifier.
        input_size: Height and width of the prepared images in pixels; null if the model takes other inputs.
        takes: "images" if the version answers /classify, "texts" if it answers /classify-text, or "tensors", which only the
            Open Inference Protocol sends.
        inputs: Inputs of the model, as its manifest describes them: name, dtype, shape, what prepares them, allowed values.
        metric: Accuracy of the weights, as published with them or as measured by the job that trained them.
        top1: Top-1 accuracy in percent, from `metric`.
        test: Accuracy on test images or texts, with its interval, and calibration error; null if the model was not tested.
        licence: Licence of the weights.
        default: True if this version answers requests that name no model.
        aliases: Aliases that stand for this version now; if it is a canary, with its percentage of the requests.
        params: Number of parameters of the network; null until it was counted, or if it cannot be.
        macs: Number of multiply-accumulate operations for one image or sequence; null until it was counted, or if it cannot be.
        latency_ms: Median latency in milliseconds for one image or sequence in the format "onnx", from the profile.
        in_browser: True if the page offers to run this version in the visitor's browser.
        state: "loaded"; "idle" until a request names it; "loading" while another process loads it for the first time; or
            "refused" if it cannot be loaded.
        backend: What runs the version, such as "onnx" or "openvino"; null if it is not loaded.
        problem: Why the version is refused, or why the server cannot read it; null otherwise.
    """

    tag: str
    created: datetime
    space: str | None = None
    classes: int | None = None
    input_size: int | None = None
    takes: Literal["images", "texts", "tensors"] | None = None
    inputs: list[dict[str, Any]] | None = None
    metric: Metric | None = None
    top1: float | None = None
    test: TestFigures | None = None
    licence: str | None = None
    default: bool
    aliases: list[str]
    params: int | None = None
    macs: int | None = None
    latency_ms: float | None = None
    in_browser: bool = False
    state: str
    backend: str | None = None
    problem: str | None = None


@router.get(
    "/models",
    summary="List the models",
    name="list_models",
    dependencies=PAGED,
    response_model=list[ModelEntry],
    responses=described(401, 404, 422),
)
async def models(
    request: Request, limit: Annotated[int, Query(ge=1, le=MOST)] = MOST, after: str | None = None
) -> ClientJSONResponse:
    """Answers with the versions in the store, newest first, at most `limit`.

    With `after`, the tag of a version, it answers only with those that follow it; with 404 if the store does not have it.
    """
    shared: ServiceState = request.app.state.shared
    try:
        served = await shared.live_models.get_soon()
    except HubserveError:
        served = None
    default = served.tag if served is not None else ""
    return await to_thread.run_sync(_page, shared, default, limit, after)


def _page(shared: ServiceState, default: str, limit: int, after: str | None) -> ClientJSONResponse:
    """Returns the answer of the route `models`; it runs in a thread, because it reads files.

    Raises:
        ModelNotFoundError: The store has no version `after`.
        StoreError: The store cannot be read; `StorageError` if access is denied.
    """
    stored = shared.resolver.models
    if not stored and shared.resolver.fault is not None:
        raise shared.resolver.fault
    if after is not None:
        tags = [model.tag for model in stored]
        if after not in tags:
            raise ModelNotFoundError(f"the store has no {after[:100]!r} behind which a page could begin")
        stored = stored[tags.index(after) + 1 :]
    stored = stored[:limit]
    shared.details.prepare([model for model in stored if shared.live_models.state_of(model)[0] != "refused"])
    # Encoded here, in a thread, for the event loop.
    backends = {served.tag: served.engine.backend for served in shared.live_models.loaded}
    return ClientJSONResponse(
        [_entry(model, shared, default, backends.get(model.tag)).model_dump(mode="json") for model in stored]
    )


def _entry(model: StoredModel, shared: ServiceState, default: str, backend: str | None) -> ModelEntry:
    """Returns the entry of one version; `default` is the tag of the default model, or empty."""
    state, problem = shared.live_models.state_of(model)
    known = _facts(model, shared) if state != "refused" else {}
    return ModelEntry(
        tag=model.tag,
        created=model.created,
        default=model.tag == default,
        aliases=shared.resolver.aliases_of(model.tag),
        state=state,
        backend=backend,
        problem=problem or model.problem or None,
        **known,
    )


def _facts(model: StoredModel, shared: ServiceState) -> dict[str, Any]:
    """Returns the fields of an entry that are read from the package; empty if it cannot be read."""
    try:
        manifest = model.package.manifest
    except HubserveError:  # The version is refused, and its state says so, once a request names it.
        return {}
    metric = manifest.provenance.metric
    size = shared.details.size_of(model)
    return {
        "space": manifest.space,
        "classes": manifest.classes,
        "input_size": manifest.image_preprocess.input_size if manifest.classifies_images else None,
        "takes": _takes(manifest),
        "inputs": [entry.model_dump() for entry in manifest.inputs],
        "metric": metric,
        "top1": metric.top1 if metric else None,
        "test": manifest.test,
        "licence": manifest.provenance.licence,
        "params": size.params if size else None,
        "macs": size.macs if size else None,
        "latency_ms": shared.details.latency_of(model),
        "in_browser": why_not_in_browser(model, shared.settings) is None,
    }


def _takes(manifest: Manifest) -> Literal["images", "texts", "tensors"]:
    """Returns what the model of a package takes; see `ModelEntry`."""
    if manifest.classifies_images:
        return "images"
    return "texts" if manifest.classifies_texts and TOKENIZER in manifest.files else "tensors"


@router.get(
    "/models/{tag}/card", summary="Show a model", name="show_card", dependencies=PLAIN, responses=described(401, 404, 409)
)
async def card(request: Request, tag: str) -> dict[str, Any]:
    """Answers with tag and time of publication of a version, what it takes, and its manifest without the list of files."""
    model = _found(request, tag)
    with refused_if_unreadable(model):
        manifest = await to_thread.run_sync(lambda: model.package.manifest)
    written = manifest.model_dump(mode="json", exclude={"files"})
    return {"tag": model.tag, "created": model.created, "takes": _takes(manifest), **written}


@router.get(
    "/models/{tag}/drawing.svg",
    summary="A drawing of the arch",
    name="drawing_of_model",
    dependencies=PLAIN,
    response_class=FileResponse,
    responses={200: {"content": {"image/svg+xml": {}}}, **described(401, 404, 409, 422)},
)
async def drawing(request: Request, tag: str) -> FileResponse:
    """Answers with a drawing of the arch as SVG; with 404 if it cannot be drawn.

    At the first request for a version another process draws it, which takes seconds.
    """
    shared: ServiceState = request.app.state.shared
    path = await to_thread.run_sync(shared.details.drawing_of, _found(request, tag))
    # Anybody may have written the package that it shows: opened alone in a browser it must run no script.
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}
    return FileResponse(path, media_type="image/svg+xml", headers=headers)


@router.get(
    "/models/{tag}/profile",
    summary="Show the latency of a model",
    name="show_profile",
    dependencies=PLAIN,
    responses=described(401, 404, 409),
)
async def profile(request: Request, tag: str) -> dict[str, Any]:
    """Answers with the latency report of a version's package; with 404 if it has none."""
    model = _found(request, tag)
    with refused_if_unreadable(model):
        report = await to_thread.run_sync(lambda: model.package.profile)
    if report is None:
        raise ModelNotFoundError(f"{model.tag} was not measured before it was published: `hubserve profile` does that")
    return report


@router.get(
    "/models/{tag}/accuracy",
    summary="Show the test accuracy of a model",
    name="show_accuracy",
    dependencies=PLAIN,
    responses=described(401, 404, 409),
)
async def accuracy(request: Request, tag: str) -> AccuracyReport:
    """Answers with the accuracy report of a version's package: by class, confusion, calibration, worst items.

    The answer is 404 if the model was not tested.
    """
    model = _found(request, tag)
    with refused_if_unreadable(model):
        report = await to_thread.run_sync(lambda: model.package.accuracy)
    if report is None:
        raise ModelNotFoundError(f"{model.tag} has no test accuracy: the job that made it had no test part, or none made it")
    return report


def _found(request: Request, name: str) -> StoredModel:
    """Returns the version that a name, tag or alias stands for. Raises as `ServiceState.find_model` does."""
    shared: ServiceState = request.app.state.shared
    return shared.find_model(name)
