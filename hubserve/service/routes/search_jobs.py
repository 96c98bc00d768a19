"""Search jobs over HTTP: POST starts one in a process of its own, GET tells how it goes, DELETE stops it."""

from __future__ import annotations

import threading
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, model_validator

from hubserve import jobs
from hubserve.errors import JobError, OverloadedError
from hubserve.jobs import JobStatus
from hubserve.service.auth import changer, scheme
from hubserve.service.error_responses import described, error_response
from hubserve.service.service_state import ServiceState

router = APIRouter(prefix="/search_jobs", tags=["search jobs"])

Change = [Depends(changer), Depends(scheme)]


_starting = threading.Lock()


class JobRequest(BaseModel):
    """A search to start.

    Attributes:
        job: name of a file that GET /search_jobs/available lists.
        definition: a job of one's own, with the keys of such a file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: str | None = None
    definition: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> JobRequest:
        if (self.job is None) == (self.definition is None):
            raise ValueError("give the name of a job, or a definition")
        return self


class AvailableEntry(BaseModel):
    """A job file that can be started by its name.

    Attributes:
        name: of the file.
        summary: one sentence.
    """

    name: str
    summary: str


@router.post("", status_code=202, summary="Start a search", dependencies=Change, responses=described(401, 403, 404, 422, 503))
async def start(request: Request, wish: JobRequest) -> JobStatus:
    """Its process outlives this server; what it finds is published to the store, which the server follows."""
    shared: ServiceState = request.app.state.shared
    return await to_thread.run_sync(_started, wish, shared.settings.max_search_jobs)


@router.get("", summary="List the searches", responses=described(401))
async def listed() -> list[JobStatus]:
    """Newest first."""
    return await to_thread.run_sync(jobs.list_statuses)


@router.get("/available", summary="List the job files", responses=described(401))
async def available() -> list[AvailableEntry]:
    """By name."""
    found = await to_thread.run_sync(jobs.available_jobs)
    return [AvailableEntry(name=job.name, summary=job.summary) for job in found]


@router.get("/{identity}", summary="How a search goes", responses=described(401, 404), response_model=JobStatus)
async def read(identity: str) -> object:
    """Trials, the best so far, the Pareto front, and the course of a one-shot strategy."""
    try:
        return await to_thread.run_sync(lambda: jobs.read(jobs.find(identity)))
    except JobError as error:
        return error_response(error, status=404)


@router.delete(
    "/{identity}",
    status_code=202,
    summary="Stop a search",
    dependencies=Change,
    responses=described(401, 403, 404),
    response_model=JobStatus,
)
async def stop(identity: str) -> object:
    """Asks it to end; it is "stopping" until it has, and can be resumed by `hubserve search`."""
    try:
        return await to_thread.run_sync(lambda: jobs.request_stop(jobs.find(identity)))
    except JobError as error:
        return error_response(error, status=404)


@router.get(
    "/{identity}/plots/{name}.svg",
    summary="A plot of a search",
    response_class=FileResponse,
    responses={200: {"content": {"image/svg+xml": {}}}, **described(401, 404)},
    response_model=None,
)
async def plot(identity: str, name: str) -> object:
    """One of those that its status lists."""
    try:
        path = await to_thread.run_sync(lambda: jobs.find(identity).plot(name))
    except JobError as error:
        return error_response(error, status=404)
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox", "Cache-Control": "no-cache"}
    return FileResponse(path, media_type="image/svg+xml", headers=headers)


def _started(wish: JobRequest, most: int) -> JobStatus:
    with _starting:
        _check_room(most)
        if wish.job is not None:
            run = jobs.create(jobs.available_job(wish.job).text(), name=wish.job)
        else:
            run = jobs.create(wish.definition or {})
        jobs.start(run)
    return jobs.read(run)


def _check_room(most: int) -> None:
    """Whoever started them: they share this machine."""
    running = [run.id for run in jobs.list_runs() if jobs.is_running(run)]
    if len(running) >= most:
        raise OverloadedError(
            f"{len(running)} searches run ({', '.join(running)}) and at most {most} may at once; ask again when one is over, "
            "or stop one by DELETE /search_jobs/{id}"
        )
