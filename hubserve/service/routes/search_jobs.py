"""Search jobs over HTTP: POST starts one in a process of its own, GET shows its state, DELETE stops it."""

from __future__ import annotations

import threading
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, model_validator

from hubserve import jobs
from hubserve.errors import OverloadedError
from hubserve.jobs import Job, JobStatus
from hubserve.service.auth import CHANGE
from hubserve.service.error_responses import described
from hubserve.service.service_state import ServiceState
from hubserve.service.unknown_parameters import only_parameters

router = APIRouter(prefix="/search_jobs", tags=["search jobs"], dependencies=[Depends(only_parameters())])

_starting = threading.Lock()


class JobRequest(BaseModel):
    """A search to start: exactly one of the two.

    Attributes:
        job: Name of a job file that GET /search_jobs/available lists.
        definition: A job with the keys of such a file.
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
        name: Name of the file, without its ending.
        summary: One sentence about the search.
    """

    name: str
    summary: str


@router.post("", status_code=202, summary="Start a search", dependencies=CHANGE, responses=described(401, 403, 404, 422, 503))
async def start(request: Request, wanted: JobRequest) -> JobStatus:
    """Starts a process that outlives this server; its result is published to the store, which the server follows.

    Names in the job are checked before it starts; its data are checked by the process, whose state is then "refused".
    """
    shared: ServiceState = request.app.state.shared
    most = shared.settings.max_search_jobs
    await to_thread.run_sync(_check_number_running, most)
    text, job = await to_thread.run_sync(_parsed, wanted)
    await shared.checker.check_job(job)
    return await to_thread.run_sync(_started, text, job, wanted.job, most)


@router.get("", summary="List the searches", responses=described(401))
async def listed() -> list[JobStatus]:
    """All searches, newest first."""
    return await to_thread.run_sync(jobs.list_statuses)


@router.get("/available", summary="List the job files", responses=described(401))
async def available() -> list[AvailableEntry]:
    """All job files, sorted by name."""
    found = await to_thread.run_sync(jobs.available_jobs)
    return [AvailableEntry(name=job.name, summary=job.summary) for job in found]


@router.get("/{identity}", summary="Show a search", responses=described(401, 404))
async def read(identity: str) -> JobStatus:
    """Trials, the best so far, the Pareto front, the course of a one-shot strategy, and what was published."""
    return await to_thread.run_sync(lambda: jobs.read(jobs.find(identity)))


@router.delete("/{identity}", status_code=202, summary="Stop a search", dependencies=CHANGE, responses=described(401, 403, 404))
async def stop(identity: str) -> JobStatus:
    """Asks the process to end; the state is "stopping" until it has. `hubserve search --run FOLDER` continues the search."""
    return await to_thread.run_sync(lambda: jobs.request_stop(jobs.find(identity)))


@router.get(
    "/{identity}/plots/{name}.svg",
    summary="A plot of a search",
    response_class=FileResponse,
    responses={200: {"content": {"image/svg+xml": {}}}, **described(401, 404)},
)
async def plot(identity: str, name: str) -> FileResponse:
    """One of the plots that the status of the search lists."""
    path = await to_thread.run_sync(lambda: jobs.find(identity).plot(name))
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox", "Cache-Control": "no-cache"}
    return FileResponse(path, media_type="image/svg+xml", headers=headers)


def _parsed(wanted: JobRequest) -> tuple[str, Job]:
    text = jobs.available_job(wanted.job).text() if wanted.job is not None else jobs.dump_job(wanted.definition or {})
    return text, jobs.parse_job(text, where=wanted.job or "the definition")


def _started(text: str, job: Job, name: str | None, most: int) -> JobStatus:
    with _starting:
        _check_number_running(most)
        run = jobs.create(text, name=name, job=job)
        jobs.start(run)
    return jobs.read(run)


def _check_number_running(most: int) -> None:
    """Raises OverloadedError where `most` searches run, whoever started them: they share this machine."""
    running = [run.id for run in jobs.list_runs() if jobs.is_running(run)]
    if len(running) >= most:
        raise OverloadedError(
            f"{len(running)} searches run ({', '.join(running)}) and at most {most} may at once; ask again when one is over, "
            "or stop one by DELETE /search_jobs/{id}"
        )
