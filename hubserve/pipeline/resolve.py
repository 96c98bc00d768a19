"""`resolve_job`: makes the objects that a job definition names, such as its space, strategies and data."""

from pathlib import Path

from hubserve.data.own_images import PLAIN, Reading
from hubserve.errors import JobError
from hubserve.find_named import importing_from
from hubserve.jobs import UNLIMITED, FineTuneJob, Job, JobLimits, SearchJob, ShrinkJob
from hubserve.pipeline.resolve_fine_tuning import resolve_fine_tuning
from hubserve.pipeline.resolve_search import resolve_search
from hubserve.pipeline.resolve_shrinking import resolve_shrinking
from hubserve.pipeline.resolved_job import ResolvedJob


def resolve_job(job: Job, *, where: Path, limits: JobLimits = UNLIMITED, reading: Reading = PLAIN) -> ResolvedJob:
    """Makes all objects that a job names, loads its data, and checks them against each other; nothing is trained.

    Args:
        job: The definition.
        where: Folder to which relative paths in the definition are relative, and in which modules of the user's own are looked
            for first.
        limits: Limits on what the job may read and use.
        reading: Parts of an earlier scan to reuse, and a progress callback for the check of the images.

    Raises:
        JobError: A name or file does not exist, a value is not allowed, the data cannot be used, a limit is exceeded, or
            settings exclude each other. The message begins with the key.
        MissingExtraError: A library that reads the data is not installed.
    """
    # The modules of a user's own jobs are imported from the folder in which the job was submitted. For a definition over HTTP
    # that is a folder of data, from which nothing is imported.
    if job.latency.lengths and not isinstance(job, SearchJob):
        raise JobError("latency.lengths: the networks of this job take images, whose size is that of the data; leave it out")
    with importing_from(where if limits.roots is None else None):
        if isinstance(job, ShrinkJob):
            return resolve_shrinking(job, where=where, limits=limits, reading=reading)
        if isinstance(job, FineTuneJob):
            return resolve_fine_tuning(job, where=where, limits=limits, reading=reading)
        if isinstance(job, SearchJob):
            return resolve_search(job, where=where, limits=limits, reading=reading)
    raise JobError(f"{type(job).__name__} is no kind of job that can be run")
