"""What the store holds: GET /models, and of one version its card, its drawing and its profile."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel

from hubserve.cards.card import Metric
from hubserve.errors import HubserveError, ModelNotFoundError
from hubserve.service.error_responses import described
from hubserve.service.model_details import ModelDetails
from hubserve.service.name_resolution import DEFAULT
from hubserve.service.service_state import ServiceState
from hubserve.store import StoredModel

router = APIRouter(tags=["models"])


class ModelEntry(BaseModel):
    """One version in the store; what its package does not tell is null.

    Attributes:
        tag: "name:version".
        created: when it was published.
        space: class name of its model space.
        classes: how many it tells apart.
        input_size: height and width in pixels that it sees.
        metric: published accuracy.
        top1: of it, in percent.
        licence: of its weights.
        default: whether it answers where a request names no model.
        aliases: names that mean it now; a canary with its share.
        params: of the network.
        macs: multiplications with additions for one picture.
        latency_ms: median of ONNX for one picture, as profiled on the machine that published it.
        state: "loaded"; "idle" until somebody asks for it; or "refused".
        problem: why it is refused.
    """

    tag: str
    created: datetime
    space: str | None = None
    classes: int | None = None
    input_size: int | None = None
    metric: Metric | None = None
    top1: float | None = None
    licence: str | None = None
    default: bool
    aliases: list[str]
    params: int | None = None
    macs: int | None = None
    latency_ms: float | None = None
    state: str
    problem: str | None = None


@router.get("/models", summary="List the models", responses=described(401))
async def models(request: Request) -> list[ModelEntry]:
    """Every version in the store, newest first."""
    shared: ServiceState = request.app.state.shared
    try:
        default = (await shared.live_models.get(DEFAULT)).tag
    except HubserveError:
        default = ""
    return await to_thread.run_sync(_entries, shared, request.app.state.figures, default)


def _entries(shared: ServiceState, figures: ModelDetails, default: str) -> list[ModelEntry]:
    stored = shared.live_models.resolver.models
    figures.prepare([model for model in stored if shared.live_models.state_of(model)[0] != "refused"])
    return [_entry(model, shared, figures, default) for model in stored]


def _entry(model: StoredModel, shared: ServiceState, figures: ModelDetails, default: str) -> ModelEntry:
    state, problem = shared.live_models.state_of(model)
    known = _facts(model, figures) if state != "refused" else {}
    return ModelEntry(
        tag=model.tag,
        created=model.created,
        default=model.tag == default,
        aliases=shared.live_models.resolver.names_of(model.tag),
        state=state,
        problem=problem,
        **known,
    )


def _facts(model: StoredModel, figures: ModelDetails) -> dict[str, Any]:
    try:
        manifest = model.package.manifest
    except HubserveError:  # Its state will say so, once somebody asks for it.
        return {}
    metric = manifest.provenance.metric
    size = figures.size_of(model)
    return {
        "space": manifest.space,
        "classes": manifest.classes,
        "input_size": manifest.preprocess.input_size,
        "metric": metric,
        "top1": metric.top1 if metric else None,
        "licence": manifest.provenance.licence,
        "params": size.params if size else None,
        "macs": size.macs if size else None,
        "latency_ms": figures.latency_of(model),
    }


@router.get("/models/{tag}/card", summary="All about a model", responses=described(401, 404, 409))
async def card(request: Request, tag: str) -> dict[str, Any]:
    """What the package says of itself: space, arch, preprocessing, provenance, versions, and the tag of the version."""
    model = _found(request, tag)
    manifest = (await to_thread.run_sync(lambda: model.package.manifest)).model_dump(mode="json", exclude={"files"})
    return {"tag": model.tag, "created": model.created, **manifest}


@router.get(
    "/models/{tag}/drawing.svg",
    summary="The arch as a picture",
    response_class=FileResponse,
    responses={200: {"content": {"image/svg+xml": {}}}, **described(401, 404, 409, 422)},
)
async def drawing(request: Request, tag: str) -> FileResponse:
    """Cells as graphs, or blocks in a row. Drawn by a process of its own when first asked for, which takes seconds."""
    figures: ModelDetails = request.app.state.figures
    path = await to_thread.run_sync(figures.drawing_of, _found(request, tag))
    # It comes from a package that anybody wrote: whoever opens it alone gets a picture, never a script.
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}
    return FileResponse(path, media_type="image/svg+xml", headers=headers)


@router.get("/models/{tag}/profile", summary="How fast it was", responses=described(401, 404, 409))
async def profile(request: Request, tag: str) -> dict[str, Any]:
    """The latency report of the package; 404 where nobody measured."""
    model = _found(request, tag)
    report = await to_thread.run_sync(lambda: model.package.profile)
    if report is None:
        raise ModelNotFoundError(f"{model.tag} was not measured before it was published: `hubserve profile` does that")
    return report


def _found(request: Request, name: str) -> StoredModel:
    """The version that a name, tag or alias means now; of an alias with a canary the stable one."""
    shared: ServiceState = request.app.state.shared
    return shared.live_models.resolver.traffic_shares(name)[0].versions[0]
