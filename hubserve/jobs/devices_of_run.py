"""`check_same_devices`: refuses to go on with a fine-tuning on another number of devices."""

from hubserve.errors import JobError
from hubserve.jobs.definition import Job
from hubserve.jobs.fine_tune_job import FineTuneJob
from hubserve.jobs.job_file import parse_job
from hubserve.jobs.run_folder import Run


def check_same_devices(run: Run, asked: Job) -> None:
    """Checks that a fine-tuning that is resumed is not asked to train on another number of devices than it began with.

    Args:
        run: The run that is resumed.
        asked: Job with the options of the command; a recipe without `devices` asks for no number.

    Raises:
        JobError: The numbers differ, or the job of the run cannot be read.
    """
    begun = parse_job(run.definition(), where=run.id)
    if not isinstance(begun, FineTuneJob) or not isinstance(asked, FineTuneJob):
        return
    before, now = begun.recipe.devices, asked.recipe.devices
    if "devices" in asked.recipe.model_fields_set and now != before:
        raise JobError(
            f"recipe.devices = {now}, and {run.id} began with {before}: a step would have another number of images. "
            "Leave it out to go on, or start a new run without --resume"
        )
