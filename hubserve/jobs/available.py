"""The job files that lie ready: those of `search_jobs/` in the working folder, and beside the package in a checkout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import hubserve
from hubserve.errors import JobError, JobNotFoundError, suggest
from hubserve.jobs.definition import read_job

FOLDER = "search_jobs"


@dataclass(frozen=True)
class AvailableJob:
    """A job file that can be started by its name.

    Attributes:
        name: of the file, without ".yaml".
        summary: one sentence.
        path: of the file.
    """

    name: str
    summary: str
    path: Path

    def text(self) -> str:
        """What stands in the file."""
        return self.path.read_text("utf-8")


def available_jobs() -> list[AvailableJob]:
    """All of them, by name; a file in the working folder goes before one of the same name beside the package.

    A file that is no job is listed too, with what is wrong as its summary.
    """
    found: dict[str, AvailableJob] = {}
    for folder in (Path.cwd() / FOLDER, Path(hubserve.__file__).parent.parent / FOLDER):
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, AvailableJob(path.stem, _summary(path), path))
    return [found[name] for name in sorted(found)]


def available_job(name: str) -> AvailableJob:
    """The one of that name. Raises JobError with the nearest names."""
    jobs = {job.name: job for job in available_jobs()}
    if name not in jobs:
        raise JobNotFoundError(f"no job file is called {name!r}. {suggest(name, jobs)}")
    return jobs[name]


def _summary(path: Path) -> str:
    try:
        return read_job(path).summary
    except JobError as error:
        return str(error)
