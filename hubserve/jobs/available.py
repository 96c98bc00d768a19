"""Job files that can be started by name: those in `search_jobs/` of the working folder, and those that come with hubserve."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from hubserve.errors import JobError, JobNotFoundError, suggest
from hubserve.jobs.job_file import read_job, read_text

FOLDER = "search_jobs"


@dataclass(frozen=True)
class AvailableJob:
    """A job file that can be started by its name.

    Attributes:
        name: File name without ".yaml".
        path: The file.
    """

    name: str
    path: Path

    def text(self) -> str:
        """The text of the file. Raises JobError if it cannot be read."""
        return read_text(self.path)

    @property
    def summary(self) -> str:
        """The job's summary, for which the file is read; if it is not a valid job, what is wrong with it."""
        try:
            return read_job(self.path).summary
        except JobError as error:
            return str(error)


def available_jobs() -> list[AvailableJob]:
    """All job files, sorted by name. A file in the working folder hides one of the same name that comes with hubserve."""
    found: dict[str, AvailableJob] = {}
    for folder in _folders():
        for path in folder.glob("*.yaml"):
            found.setdefault(path.stem, AvailableJob(path.stem, path))
    return [found[name] for name in sorted(found)]


def available_job(name: str) -> AvailableJob:
    """The job file of that name, found without reading any file. Raises JobNotFoundError with the nearest names."""
    jobs = {job.name: job for job in available_jobs()}
    if name not in jobs:
        raise JobNotFoundError(f"no job file is called {name!r}. {suggest(name, jobs)}")
    return jobs[name]


def _folders() -> tuple[Path, ...]:
    package = Path(str(files("hubserve")))
    # In the repository hubserve/search_jobs is a link to search_jobs/; a wheel has the files there. A bento, which leaves out
    # links, has search_jobs/ beside the package.
    return Path.cwd() / FOLDER, package / FOLDER, package.parent / FOLDER
