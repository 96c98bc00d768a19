"""Exports over HTTP: POST starts one in a process of its own, GET tells how it goes, and the package is a download."""

from __future__ import annotations

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse

from hubserve.cards.card import list_cards
from hubserve.errors import JobError, ModelNotFoundError, suggest
from hubserve.hub.registry import get_space
from hubserve.service.auth import changer, scheme
from hubserve.service.error_responses import described, error_response
from hubserve.service.exports import ExportRequest, Exports, ExportStatus
from hubserve.service.service_state import ServiceState

router = APIRouter(prefix="/exports", tags=["exports"])


@router.post(
    "",
    status_code=202,
    summary="Start an export",
    dependencies=[Depends(changer), Depends(scheme)],
    responses=described(401, 403, 404, 422, 503),
)
async def start(request: Request, wanted: ExportRequest) -> ExportStatus:
    """Of an alias, a name or tag in the store, or a pre-searched model, whichever there is first; or of an arch of a space."""
    shared: ServiceState = request.app.state.shared
    if wanted.model is not None:
        _check_known(shared, wanted.model)
    else:
        get_space(wanted.space or "", wanted.settings)
    exports: Exports = request.app.state.exports
    return await to_thread.run_sync(exports.start, wanted)


@router.get("", summary="List the exports", responses=described(401))
async def listed(request: Request) -> list[ExportStatus]:
    """Newest first; those that are over are kept for a while."""
    return await to_thread.run_sync(request.app.state.exports.list)


@router.get("/{identity}", summary="How an export goes", responses=described(401, 404), response_model=ExportStatus)
async def read(request: Request, identity: str) -> object:
    """Its state; its error where it failed."""
    try:
        return await to_thread.run_sync(request.app.state.exports.read, identity)
    except JobError as error:
        return error_response(error, status=404)


@router.get(
    "/{identity}/package",
    summary="Download the package",
    response_class=FileResponse,
    responses={200: {"content": {"application/zip": {}}}, **described(401, 404)},
    response_model=None,
)
async def package(request: Request, identity: str) -> object:
    """A ZIP file with the folder `package`."""
    try:
        path = await to_thread.run_sync(request.app.state.exports.archive, identity)
    except JobError as error:
        return error_response(error, status=404)
    return FileResponse(path, media_type="application/zip", filename=f"{identity}.zip")


def _check_known(shared: ServiceState, name: str) -> None:
    """In the order of `hubserve export`: an alias, a name or tag in the store, a pre-searched model."""
    try:
        shared.live_models.resolver.traffic_shares(name)
    except ModelNotFoundError as error:
        cards = list_cards()
        if name in cards:
            return
        resolver = shared.live_models.resolver
        known = {*cards, *resolver.aliases, *(model.tag if ":" in name else model.name for model in resolver.models)}
        raise ModelNotFoundError(
            f"{name!r} is no alias, not in the store, and no pre-searched model. {suggest(name, known)}"
        ) from error
