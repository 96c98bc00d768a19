"""`earlier_searches`: finds the studies whose trials a search begins with, and checks that their scores mean the same."""

from pathlib import Path

from hubserve import jobs
from hubserve.data.scan import Scan
from hubserve.errors import ExperimentError, JobError, JobNotFoundError
from hubserve.evaluator import Objective
from hubserve.experiment.warm_start import check_earlier, open_earlier
from hubserve.jobs import JobLimits, Run, SearchJob
from hubserve.pipeline.pinned_data import pinned_parts
from hubserve.space import ModelSpace

SAME = ("data", "recipe", "evaluator")
"""Keys of a job by which a trial is scored; they are equal in an earlier run and the search that begins with its trials."""


def earlier_searches(
    job: SearchJob, space: ModelSpace, *, where: Path, limits: JobLimits, begins_with: Scan | None = None
) -> tuple[Path, ...]:
    """Returns the files or folders of the studies that `warm_start` of a job names, after checking them.

    Args:
        job: The search.
        space: Its space.
        where: Folder in which relative paths start.
        limits: Limits on what the job may read; with `roots`, only runs may be named.
        begins_with: The images of a run that begins. None for other data, and for a run that goes on, which has the trials.

    Raises:
        JobError: There is no such run or study; it is of another space, or has another direction of an objective; or the run is
            no search, or has other data, other images or parts of them, or another recipe or evaluator, or scored its trials
            with shared weights. A study that is named by its path is checked for space and directions alone.
    """
    objectives = tuple(Objective(name, direction) for name, direction in job.objectives.items())
    found = []
    for name in job.warm_start:
        try:
            place = _place(name, job, where, limits, begins_with)
            study, _ = open_earlier(place)
            check_earlier(study, space, objectives)
        except ExperimentError as error:
            raise JobError(f"warm_start: {error}") from error
        found.append(place)
    return tuple(found)


def _place(name: str, job: SearchJob, where: Path, limits: JobLimits, images: Scan | None) -> Path:
    """Returns the folder of the study of a run, or else the path `name`."""
    try:
        run = jobs.find(name)
    except JobNotFoundError as error:
        path = where / Path(name).expanduser()
        if limits.roots is None and path.exists():
            return path
        raise JobError(f"warm_start: {error}" + ("" if limits.roots is not None else f" Nor is there a file {path}")) from error
    _check_same_scores(job, run)
    pinned = pinned_parts(run)
    if images is not None and pinned is not None and pinned.sha256 != images.sha256:
        raise JobError(
            f"warm_start: the images, or the parts that they are in, have changed since {run.id} began, so the scores cannot "
            f"be compared; give {run.path / 'search' / 'study.journal'} to take its trials all the same"
        )
    return run.path / "search"


def _check_same_scores(job: SearchJob, run: Run) -> None:
    before = jobs.parse_job(run.definition(), where=run.id)
    if not isinstance(before, SearchJob):
        raise JobError(f"warm_start: {run.id} is a fine-tuning and no search of a space")
    for key in SAME:
        if getattr(before, key) != getattr(job, key):
            there, here = _only_differences(before, job, key)
            raise JobError(
                f"warm_start: {run.id} has {key}: {there}, and here it is {here}, so the scores cannot be compared; give "
                f"{run.path / 'search' / 'study.journal'} to take its trials all the same"
            )
    if before.strategy.then is not None:
        raise JobError(f"warm_start: {run.id} scored its trials with the shared weights of {before.strategy.name}")


def _only_differences(before: SearchJob, job: SearchJob, key: str) -> tuple[object, object]:
    """Returns the entry of a key in both jobs, without what is the same in them."""
    there, here = (each.model_dump(mode="json", exclude_none=True).get(key) for each in (before, job))
    if not isinstance(there, dict) or not isinstance(here, dict):
        return there, here
    names = {name for name in {*there, *here} if there.get(name) != here.get(name)}
    return {name: there.get(name) for name in sorted(names)}, {name: here.get(name) for name in sorted(names)}
