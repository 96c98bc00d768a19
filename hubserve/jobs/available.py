"""Lists the job files that can be started by name: those in `search_jobs/` of the working folder, and hubserve's own."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from hubserve.errors import JobError, JobNotFoundError
from hubserve.jobs.job_file import read_job, read_text
from hubserve.similar_names import suggest

FOLDER = "search_jobs"


@dataclass(frozen=True)
class AvailableJob:
    """A job file that can be started by its name.

    Attributes:
        name: Name of the file without ".yaml".
        path: The file.
    """

    name: str
    path: Path

    def text(self) -> str:
        """Returns the text of the file. Raises JobError if it cannot be read."""
        return read_text(self.path)

    @property
    def summary(self) -> str:
        """The job's summary; the error message if the file cannot be read or is not a valid job.

        The file is read at each access.
        """
        try:
            return read_job(self.path).summary
        except JobError as error:
            return str(error)


def available_jobs() -> list[AvailableJob]:
    """Returns all job files, sorted by name. Of two files with the same name, the one in the working folder is taken."""
    found: dict[str, AvailableJob] = {}
    for folder in _folders():
        for path in folder.glob("*.yaml"):
            found.setdefault(path.stem, AvailableJob(path.stem, path))
    return [found[name] for name in sorted(found)]


def available_job(name: str) -> AvailableJob:
    """Returns the job file `name`. No file is read.

    Raises:
        JobNotFoundError: There is no such file; the message has similar names.
    """
    jobs = {job.name: job for job in available_jobs()}
    if name not in jobs:
        raise JobNotFoundError(f"no job file is called {name!r}. {suggest(name, jobs)}")
    return jobs[name]


def _folders() -> tuple[Path, ...]:
    """Returns the folders that are searched for job files, in the order in which they are searched."""
    package = Path(str(files("hubserve")))
    # In the repository hubserve/search_jobs is a link to search_jobs/; a wheel has the files there. A bento, which leaves out
    # links, has search_jobs/ beside the package.
    return Path.cwd() / FOLDER, package / FOLDER, package.parent / FOLDER
