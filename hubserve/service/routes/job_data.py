"""Routes for the data of jobs: GET /jobs/data lists data folders, POST uploads one as a ZIP file, DELETE removes an upload."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from hubserve.atomic import staged_folder
from hubserve.errors import (
    BodyTooLargeError,
    EncodingError,
    OverloadedError,
    RequestBodyError,
    SlowRequestError,
    UploadQuotaError,
)
from hubserve.service import data_folders
from hubserve.service.auth import CHANGE
from hubserve.service.content_encoding import encodings
from hubserve.service.data_folders import DataFolder, DataFolders
from hubserve.service.error_responses import described
from hubserve.service.job_and_export_limits import data_roots
from hubserve.service.service_state import ServiceState
from hubserve.service.settings import ServiceSettings
from hubserve.service.unknown_parameters import only_parameters
from hubserve.service.zip_upload import Unpacked, unpack

router = APIRouter(tags=["jobs"])

PLAIN = [Depends(only_parameters())]
NAMED = [Depends(only_parameters("name"))]

_ZIP = {"requestBody": {"required": True, "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}}

_ZIP_NAME = ".zip"
"""Name of the received file in the hidden folder of an upload; it is hidden, so that no upload has this name."""

_uploading, _looking = threading.Lock(), threading.Lock()


class Upload(BaseModel):
    """The answer to an upload.

    Attributes:
        data: The new data folder.
        left_out: Number of files in the ZIP that were left out, because they are hidden or not images.
    """

    data: DataFolder
    left_out: int


@router.get("/data", summary="List the data folders", name="list_data", dependencies=PLAIN, responses=described(401, 422))
async def listed(request: Request) -> DataFolders:
    """Answers with the folders with class folders below the server's data roots.

    Folders more than three levels below a root are not found. The search ends after 200 data folders, 200,000 folder entries or
    2 s; `complete` is false if it was ended by one of these.
    """
    roots = data_roots(request.app.state.shared.settings)
    return await to_thread.run_sync(_listed, roots)


@router.post(
    "/data",
    status_code=201,
    summary="Upload a ZIP of images",
    name="upload_data",
    dependencies=NAMED + CHANGE,
    responses=described(400, 401, 403, 408, 413, 415, 422, 503, 507),
    openapi_extra=_ZIP,
)
async def upload(request: Request, name: str) -> Upload:
    """Unpacks a ZIP file, which has a folder of images for each class, into a new data folder with the given name.

    The body is the ZIP file itself. Hidden files and files that are not images are left out, and so is a single folder around
    the class folders. If the ZIP file is refused, nothing of it is kept. The name has 1 to 60 letters, digits, dots, - and _,
    and begins with a letter or a digit; a name that is in use is refused with 422. Only one ZIP file is received at a time; the
    answer is 503 meanwhile.
    """
    shared: ServiceState = request.app.state.shared
    settings, root = shared.settings, data_roots(shared.settings)[0]
    if encodings(request):
        raise EncodingError("a ZIP is compressed already: send it without content-encoding", accepted="identity")
    await to_thread.run_sync(data_folders.check_free, root, name)
    await to_thread.run_sync(_check_total, root, settings, 1)
    _check_announced(request, settings)
    if not _uploading.acquire(blocking=False):
        raise OverloadedError("another upload is being received; ask again when it is over")
    try:
        stage = staged_folder(root / data_folders.UPLOADS, name)
        folder = await to_thread.run_sync(stage.__enter__)
        try:
            await _receive(request, folder / _ZIP_NAME, settings)
            return await to_thread.run_sync(_unpacked, root, name, folder, settings)
        finally:
            await to_thread.run_sync(stage.__exit__, None, None, None)
    finally:
        _uploading.release()


@router.delete(
    "/data/{name}",
    status_code=204,
    summary="Delete an upload",
    name="delete_data",
    dependencies=PLAIN + CHANGE,
    responses=described(401, 403, 404, 409),
)
async def delete(request: Request, name: str) -> None:
    """Deletes the upload with the given name; answers with 404 if there is none, with 409 if a job uses it.

    Other data folders cannot be deleted over HTTP.
    """
    root = data_roots(request.app.state.shared.settings)[0]
    await to_thread.run_sync(data_folders.remove_upload, root, name)


def _listed(roots: tuple[Path, ...]) -> DataFolders:
    """Returns the data folders below `roots`. Only one request searches them at a time; others wait."""
    with _looking:  # One look at a time: many clients may ask.
        return data_folders.list_folders(roots)


def _check_announced(request: Request, settings: ServiceSettings) -> None:
    """Checks the length of the body that the client announces. Raises BodyTooLargeError if it is too large."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) >= 20 or int(announced) > settings.upload_mb * 1e6):
        raise _too_long(settings)


async def _receive(request: Request, path: Path, settings: ServiceSettings) -> None:
    """Writes the body of a request to the file `path`, in parts as they arrive.

    Raises:
        BodyTooLargeError: The body is larger than the setting `upload_mb`.
        SlowRequestError: The body was not received in time.
        RequestBodyError: The body is empty.
        ClientDisconnect: The client disconnected before the whole body was received.
        OSError: The file cannot be written.
    """
    size = 0
    try:
        async with asyncio.timeout(settings.upload_seconds):
            with path.open("wb") as file:
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > settings.upload_mb * 1e6:
                        raise _too_long(settings)
                    await to_thread.run_sync(file.write, chunk)
    except TimeoutError as error:
        raise SlowRequestError(f"the ZIP did not come within {settings.upload_seconds:g} s: send a smaller one") from error
    if not size:
        raise RequestBodyError("the body is empty: send the ZIP as the body of the request")


def _too_long(settings: ServiceSettings) -> BodyTooLargeError:
    """Returns the exception for a ZIP file that is too large."""
    return BodyTooLargeError(f"the ZIP is longer than the allowed {settings.upload_mb * 1e6:,.0f} bytes")


def _check_total(root: Path, settings: ServiceSettings, more: int) -> None:
    """Checks that the uploads may grow by `more` bytes.

    Raises:
        UploadQuotaError: They would then have more bytes together than the setting `upload_total_mb` allows.
    """
    used, allowed = data_folders.bytes_in(root / data_folders.UPLOADS), settings.upload_total_mb * 1e6
    if used + more > allowed:
        raise UploadQuotaError(
            f"the uploads have {used:,} of {allowed:,.0f} bytes that are allowed together, and this one has "
            f"{'some' if more == 1 else format(more, ',')} more: delete one by DELETE /jobs/data/NAME, or raise "
            "HUBSERVE_UPLOAD_TOTAL_MB"
        )


def _unpacked(root: Path, name: str, stage: Path, settings: ServiceSettings) -> Upload:
    """Unpacks the ZIP file in the hidden folder `stage`, adds the upload `name`, and returns the answer.

    Raises:
        UploadQuotaError: All uploads together would have more bytes than the setting `upload_total_mb` allows.
        BodyTooLargeError, RequestBodyError, OSError: As in `unpack`.
        JobError: The name is in use, or the ZIP file has fewer than two class folders with images.
    """
    most = min(int(settings.upload_expanded_mb * 1e6), shutil.disk_usage(stage).free)
    done: list[Unpacked] = []

    def fill(folder: Path) -> None:
        done.append(unpack(stage / _ZIP_NAME, folder, max_files=settings.upload_files, max_bytes=most))
        _check_total(root, settings, data_folders.bytes_in(folder))

    data = data_folders.add_upload(root, name, stage, fill)
    return Upload(data=data, left_out=done[0].left_out)
