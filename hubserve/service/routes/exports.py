"""Routes below /exports: start an export, list exports, show one, stop one, and download its package."""

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse

from hubserve.cards.card import list_cards
from hubserve.errors import ModelNotFoundError
from hubserve.service.auth import CHANGE
from hubserve.service.error_responses import described
from hubserve.service.export_folder import ExportRequest, ExportStatus
from hubserve.service.job_and_export_limits import export_limits
from hubserve.service.service_state import ServiceState
from hubserve.service.unknown_parameters import only_parameters
from hubserve.similar_names import suggest

router = APIRouter(prefix="/exports", tags=["exports"], dependencies=[Depends(only_parameters())])


@router.post(
    "",
    status_code=202,
    summary="Start an export",
    name="start_export",
    dependencies=CHANGE,
    responses=described(401, 403, 404, 422, 503),
)
async def start(request: Request, wanted: ExportRequest) -> ExportStatus:
    """Starts to export a model, which is an alias, a name or tag in the store, or a pre-searched model; or an arch of a space.

    The export runs in a process of its own, which goes on if the server is restarted. GET /exports/{id} shows its state. If the
    largest allowed number of exports is running, the answer is 503.
    """
    shared: ServiceState = request.app.state.shared
    if wanted.model is not None:
        _check_known(shared, wanted.model)
    else:
        await to_thread.run_sync(shared.exports.check_number_running)
        await shared.checker.check_export(wanted, export_limits(shared.settings))
    return await to_thread.run_sync(shared.exports.start, wanted)


@router.get("", summary="List the exports", name="list_exports", responses=described(401))
async def listed(request: Request) -> list[ExportStatus]:
    """Answers with the states of all exports, newest first. Of those that have ended, about the last 20 are kept."""
    shared: ServiceState = request.app.state.shared
    return await to_thread.run_sync(shared.exports.list)


@router.get("/{identity}", summary="Show an export", name="show_export", responses=described(401, 404))
async def read(request: Request, identity: str) -> ExportStatus:
    """Answers with the state of an export and, if it failed, the reason."""
    shared: ServiceState = request.app.state.shared
    return await to_thread.run_sync(shared.exports.read, identity)


@router.delete(
    "/{identity}",
    status_code=202,
    summary="Stop an export",
    name="stop_export",
    dependencies=CHANGE,
    responses=described(401, 403, 404),
)
async def stop(request: Request, identity: str) -> ExportStatus:
    """Ends all processes of the export within 5 s. The state is "stopping" until then, and then "stopped".

    An export that has ended stays as it is.
    """
    shared: ServiceState = request.app.state.shared
    return await to_thread.run_sync(shared.exports.stop, identity)


@router.get(
    "/{identity}/package",
    summary="Download the package",
    name="download_package",
    response_class=FileResponse,
    responses={200: {"content": {"application/zip": {}}}, **described(401, 404)},
)
async def package(request: Request, identity: str) -> FileResponse:
    """Answers with the package of an export as a ZIP file with the folder `package`; with 404 if there is no package (yet)."""
    shared: ServiceState = request.app.state.shared
    path = await to_thread.run_sync(shared.exports.archive, identity)
    return FileResponse(path, media_type="application/zip", filename=f"{identity}.zip")


def _check_known(shared: ServiceState, name: str) -> None:
    """Checks that `name` is an alias, a name or tag in the store, or a pre-searched model.

    Raises:
        ModelNotFoundError: It is none of these; the message has similar names.
        StoreError: The store cannot be read, and it is no pre-searched model; `StorageError` if access is denied.
    """
    try:
        shared.find_model(name)
    except ModelNotFoundError as error:
        cards = list_cards()
        if name in cards:
            return
        raise ModelNotFoundError(
            f"{name!r} is no alias, not in the store, and no pre-searched model. "
            f"{suggest(name, {*cards, *shared.resolver.known_names(name)})}"
        ) from error
