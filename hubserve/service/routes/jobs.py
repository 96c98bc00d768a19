"""Routes below /jobs: POST starts a search or a fine-tuning in a process of its own, GET shows its state, DELETE stops it."""

from __future__ import annotations

import json
import threading
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, model_validator

from hubserve import jobs
from hubserve.errors import JobError, OverloadedError
from hubserve.jobs import Job, JobLimits, JobStatus, JobSummary
from hubserve.service.auth import CHANGE
from hubserve.service.error_responses import described
from hubserve.service.job_and_export_limits import definition_limits, named_job_limits
from hubserve.service.service_state import ServiceState
from hubserve.service.settings import ServiceSettings
from hubserve.service.unknown_parameters import only_parameters

router = APIRouter(tags=["jobs"])

PLAIN = [Depends(only_parameters())]
PAGED = [Depends(only_parameters("limit", "after"))]

MOST_JOBS, MOST_TRIALS = 200, 10_000
"""Largest number of jobs in one answer, and of trials of one job in one answer."""

MOST_CHARACTERS, REASON_CHARACTERS = 50_000, 300
"""Largest number of characters of a job definition as JSON, and of the reason of a trial in an answer."""

_starting = threading.Lock()


class JobRequest(BaseModel):
    """A job to start. Exactly one of the keys is given.

    Attributes:
        job: Name of a job file, one of those that GET /jobs/available lists.
        definition: A job definition, with the keys of a job file.

    Raises:
        pydantic.ValidationError: A key is unknown, or neither or both of the keys are given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: str | None = None
    definition: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> JobRequest:
        """Returns the request itself. Raises ValueError if neither or both of the keys are given."""
        if (self.job is None) == (self.definition is None):
            raise ValueError("give the name of a job, or a definition")
        return self


class AvailableEntry(BaseModel):
    """A job file that can be started by its name.

    Attributes:
        name: Name of the file without ".yaml".
        summary: One sentence about the job; if the file is not a valid job, what is wrong with it.
    """

    name: str
    summary: str


@router.post(
    "",
    status_code=202,
    summary="Start a job",
    name="start_job",
    dependencies=PLAIN + CHANGE,
    responses=described(401, 403, 404, 422, 503),
)
async def start(request: Request, wanted: JobRequest) -> JobSummary:
    """Starts a job in a process that outlives this server. The model that it publishes is served as soon as it is in the store.

    A definition may access and use only what the server's settings allow. Names in the job are checked before it starts. The
    job's process checks its data: if they cannot be used, its state is "refused". If as many jobs run as the setting
    `max_search_jobs` allows, the answer is 503.
    """
    shared: ServiceState = request.app.state.shared
    most = shared.settings.max_search_jobs
    await to_thread.run_sync(_check_number_running, most)
    text, job, limits = await to_thread.run_sync(_parsed, wanted, shared.settings)
    await shared.checker.check_job(job, limits)
    return await to_thread.run_sync(_started, text, job, wanted.job, limits, most)


@router.get("", summary="List the jobs", name="list_jobs", dependencies=PAGED, responses=described(401, 404, 422))
async def listed(limit: Annotated[int, Query(ge=1, le=MOST_JOBS)] = 50, after: str | None = None) -> list[JobSummary]:
    """Answers with the states of at most `limit` jobs, newest first, without their trials.

    With `after`, the id of a job, it answers only with jobs that are older than that one; with 404 if there is no such job.
    """
    return await to_thread.run_sync(lambda: jobs.list_summaries(limit, after=after))


@router.get("/available", summary="List the job files", name="list_job_files", dependencies=PLAIN, responses=described(401))
async def available() -> list[AvailableEntry]:
    """Answers with all job files that can be started by name, sorted by name."""
    found = await to_thread.run_sync(jobs.available_jobs)
    return [AvailableEntry(name=job.name, summary=job.summary) for job in found]


@router.get("/starts", summary="List the models to fine-tune", name="list_starts", dependencies=PLAIN, responses=described(401))
async def starts(request: Request) -> list[str]:
    """Answers with the names of models that a fine-tuning can start from at once: first those in the store.

    The names of pre-searched models whose weights are on this machine follow. Other pre-searched models can be given, too;
    their weights are downloaded. To look for weights takes seconds, at most once a minute.
    """
    shared: ServiceState = request.app.state.shared
    names = await shared.local_cards.names()
    return list(dict.fromkeys([*(model.tag.partition(":")[0] for model in shared.resolver.models), *names]))


@router.get("/{identity}", summary="Show a job", name="show_job", dependencies=PAGED, responses=described(401, 404, 422))
async def read(
    identity: str,
    limit: Annotated[int, Query(ge=0, le=MOST_TRIALS)] = 1000,
    after: Annotated[int, Query(ge=-1)] | None = None,
) -> JobStatus:
    """Answers with the state of a job: trials, Pareto front, one-shot progress, epochs, test accuracy and published model.

    `history` has the last `limit` trials. With `after`, a number of a trial, it has the first `limit` trials with larger
    numbers.
    """
    return await to_thread.run_sync(lambda: _with_trials(jobs.read(jobs.find(identity)), limit, after))


@router.delete(
    "/{identity}",
    status_code=202,
    summary="Stop a job",
    name="stop_job",
    dependencies=PLAIN + CHANGE,
    responses=described(401, 403, 404),
)
async def stop(identity: str) -> JobSummary:
    """Ends all processes of the job within 5 s. The state is "stopping" until then.

    Then it is "stopped", and the command `hubserve search --run FOLDER`, on the server's machine, resumes the job. A job that
    has ended stays as it is.
    """
    return await to_thread.run_sync(lambda: jobs.end_soon(jobs.find(identity)))


@router.get(
    "/{identity}/plots/{name}.svg",
    summary="A plot of a job",
    name="plot_of_job",
    response_class=FileResponse,
    dependencies=PLAIN,
    responses={200: {"content": {"image/svg+xml": {}}}, **described(401, 404)},
)
async def plot(identity: str, name: str) -> FileResponse:
    """Answers with a plot of a job as SVG; with 404 if it has no plot of that name. The state of the job lists the names."""
    path = await to_thread.run_sync(lambda: jobs.find(identity).plot(name))
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox", "Cache-Control": "no-cache"}
    return FileResponse(path, media_type="image/svg+xml", headers=headers)


def _parsed(wanted: JobRequest, settings: ServiceSettings) -> tuple[str, Job, JobLimits]:
    """Returns the text of the job, the job, and its limits.

    Raises:
        JobError: The definition or the job file is not valid, or the definition exceeds a limit.
        JobNotFoundError: There is no job file of this name.
        OutputError: The setting `data_roots` is not set, and no folder can serve as HUBSERVE_HOME.
    """
    if wanted.job is not None:
        text = jobs.available_job(wanted.job).text()
        return text, jobs.parse_job(text, where=wanted.job), named_job_limits(settings)
    definition, limits = wanted.definition or {}, definition_limits(settings)
    size = len(json.dumps(definition))
    if size > MOST_CHARACTERS:
        raise JobError(f"the definition has {size:,} characters; {MOST_CHARACTERS:,} are allowed")
    job = jobs.parse_mapping(definition, where="the definition")
    jobs.check_limits(job, limits)
    jobs.check_paths(job, limits, _where(limits))
    return jobs.dump_job(definition), job, limits


def _where(limits: JobLimits) -> Any:
    """Returns the folder in which relative paths of a definition start; None for a job file, which uses the working folder."""
    return limits.roots[0] if limits.roots else None


def _started(text: str, job: Job, name: str | None, limits: JobLimits, most: int) -> JobSummary:
    """Creates the run folder of a job, starts the job and returns its state.

    Raises:
        OverloadedError: The largest allowed number of jobs is running.
        JobError: The process cannot be started.
        StorageError: The run folder cannot be written.
    """
    with _starting:
        _check_number_running(most)
        run = jobs.create(text, name=name, job=job, where=_where(limits), limits=limits)
        jobs.start(run)
    return jobs.read_summary(run)


def _with_trials(status: JobStatus, limit: int, after: int | None) -> JobStatus:
    """Returns the status with a part of its trials, as the route `read` describes.

    Reasons are cut to `REASON_CHARACTERS`, and the Pareto front to its first `MOST_TRIALS` trials.
    """
    if after is None:
        rows = status.history[-limit:] if limit else []
    else:
        rows = [row for row in status.history if row.number > after][:limit]
    rows = [row.model_copy(update={"reason": row.reason[:REASON_CHARACTERS]}) for row in rows]
    return status.model_copy(update={"history": rows, "pareto": status.pareto[:MOST_TRIALS]})


def _check_number_running(most: int) -> None:
    """Checks that fewer than `most` jobs are running, also counting those that were started from the command line.

    Raises:
        OverloadedError: `most` or more jobs are running.
        StorageError: The folder of runs cannot be listed.
    """
    running = [run.id for run in jobs.list_runs() if jobs.is_running(run)]
    if len(running) >= most:
        raise OverloadedError(
            f"{len(running)} jobs run ({', '.join(running)}) and at most {most} may at once; ask again when one is over, "
            "or stop one by DELETE /jobs/{id}"
        )
