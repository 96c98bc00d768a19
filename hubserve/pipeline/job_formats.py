"""`choose_formats`: selects the export formats of a job that the running Python version supports."""

from hubserve.errors import JobError
from hubserve.jobs import Job
from hubserve.jobs.definition import JobFormat, Publish
from hubserve.package.formats import unsupported_format


def choose_formats(job: Job) -> tuple[tuple[JobFormat, ...], list[str]]:
    """Returns the formats to export, and a message for each default format that this Python version does not support.

    Raises:
        JobError: The job names a format that this Python does not support.
    """
    publish = job.publish or Publish()
    reasons = {name: reason for name in publish.formats if (reason := unsupported_format(name)) is not None}
    if reasons and "formats" in publish.model_fields_set:
        name, reason = next(iter(reasons.items()))
        raise JobError(f"publish.formats: {name}: {reason}; leave it out")
    chosen = tuple(name for name in publish.formats if name not in reasons)
    return chosen, [f"{name} is not exported: {reason}" for name, reason in reasons.items()]
