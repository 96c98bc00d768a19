"""`resolve_job`: makes the objects that a job definition names, such as its space, strategies and data."""

from pathlib import Path

from hubserve.data.own_images import PLAIN, Reading
from hubserve.errors import JobError
from hubserve.jobs import UNLIMITED, FineTuneJob, Job, JobLimits, SearchJob
from hubserve.pipeline.resolve_fine_tuning import resolve_fine_tuning
from hubserve.pipeline.resolve_search import resolve_search
from hubserve.pipeline.resolved_job import ResolvedJob


def resolve_job(job: Job, *, where: Path, limits: JobLimits = UNLIMITED, reading: Reading = PLAIN) -> ResolvedJob:
    """Makes all objects that a job names, loads its data, and checks them against each other; nothing is trained.

    Args:
        job: The definition.
        where: Folder in which relative paths of the definition start.
        limits: What the job may reach and use.
        reading: Parts of the data that an earlier call pinned, and what reports the progress of checking images.

    Raises:
        JobError: Something does not exist or does not fit; the message begins with the key.
    """
    if isinstance(job, FineTuneJob):
        return resolve_fine_tuning(job, where=where, limits=limits, reading=reading)
    if isinstance(job, SearchJob):
        return resolve_search(job, where=where, limits=limits, reading=reading)
    raise JobError(f"{type(job).__name__} is no kind of job that can be run")
