"""`Run`, the folder of one run of a job: reads and writes its files. Also creates, finds and lists run folders."""

import errno
import os
import re
import secrets
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from hubserve.atomic import staged_folder, write_atomic
from hubserve.error_messages import without_surrogates
from hubserve.errors import JobError, JobNotFoundError, StorageError
from hubserve.failure_reason_file import reserve, write_reserved
from hubserve.home import home
from hubserve.jobs.definition import Job
from hubserve.jobs.job_file import dump_job, parse_job
from hubserve.jobs.limits import UNLIMITED, JobLimits
from hubserve.jobs.status import JobStatus, JobSummary
from hubserve.sequence_number import number_lock, read_number, write_next_number
from hubserve.similar_names import suggest
from hubserve.storage_faults import denial, denied, is_there

JOB, WHERE, STATUS, LOG, PID, STOP, PLOTS = "job.yaml", "where", "status.json", "log.txt", "pid", "stop", "plots"
REASON, LIMITS = "reason", "limits.json"

S = TypeVar("S", bound=JobSummary)

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
"""Pattern of the id of a run. An id has no dots or slashes, so that it cannot name a path outside the folder of runs."""


@dataclass(frozen=True)
class Run:
    """The folder of one run of a job; the docstring of `hubserve.jobs` lists the files in it.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def id(self) -> str:
        """The name of the folder, by which `hubserve jobs` and the service identify the run."""
        return self.path.name

    def definition(self) -> str:
        """Returns the text of job.yaml. Raises JobError if it cannot be read."""
        try:
            return (self.path / JOB).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise JobError(denial(error) or f"{self.path} is not the folder of a job: it has no readable {JOB}") from error

    @property
    def where(self) -> Path:
        """The folder in which relative paths of the definition start; `path` if the file `where` cannot be read."""
        try:
            return Path((self.path / WHERE).read_text("utf-8"))
        except (OSError, UnicodeDecodeError):
            return self.path

    @property
    def limits(self) -> JobLimits:
        """The limits of the job; `UNLIMITED` if there is no limits.json.

        Raises:
            JobError: limits.json cannot be read or is corrupt.
        """
        try:
            return JobLimits.model_validate_json((self.path / LIMITS).read_bytes())
        except FileNotFoundError:
            return UNLIMITED
        except (OSError, ValidationError) as error:
            why = denial(error)
            raise JobError(
                why or f"{self.path} has no readable {LIMITS}, so the job's limits are unknown; submit it anew"
            ) from error

    def written_status(self) -> JobStatus:
        """Returns what the job's process last wrote to status.json.

        `hubserve.jobs.read` corrects the state if that process has been killed; this method does not.

        Raises:
            JobError: There is no status.json, or it cannot be read or is corrupt.
        """
        return self._written(JobStatus)

    def written_summary(self) -> JobSummary:
        """Returns what `written_status` does, without the trials and epochs.

        Raises:
            JobError: There is no status.json, or it cannot be read or is corrupt.
        """
        return self._written(JobSummary)

    def _written(self, kind: type[S]) -> S:
        """Returns the content of status.json as a record of the class `kind`. Raises JobError if it cannot be read."""
        try:
            return kind.model_validate_json((self.path / STATUS).read_text("utf-8"))
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            raise JobError(denial(error) or f"{self.path} is not the folder of a job: it has no readable {STATUS}") from error

    def write_status(self, status: JobStatus) -> None:
        """Replaces status.json atomically, so that a reader finds either the old or the new record.

        Raises:
            StorageError: The disk is full or read-only, or this user may not write the file.
        """
        try:
            text = status.model_dump_json()
        except PydanticSerializationError:
            # A message has the name of a file that is not UTF-8, and JSON is.
            text = type(status).model_validate(_utf8(status.model_dump())).model_dump_json()
        write_atomic(self.path / STATUS, text + "\n")

    def write_reason(self, reason: str) -> None:
        """Writes why the job ended to the file `reason`, whose disk space is reserved, for when status.json cannot be written.

        Args:
            reason: The text, which is cut to `hubserve.failure_reason_file.BYTES` bytes. `hubserve.jobs.read` returns it as
                the error of the job. Errors of the file system are ignored.
        """
        write_reserved(self.path / REASON, reason)

    def plots(self) -> list[str]:
        """Returns the names of the plots in the run folder, without ".svg", sorted."""
        return sorted(path.stem for path in (self.path / PLOTS).glob("*.svg"))

    def plot(self, name: str) -> Path:
        """Returns the path of the SVG file of the plot `name`. Raises JobNotFoundError if there is no such plot."""
        if name not in self.plots():
            raise JobNotFoundError(f"{self.id} has no plot {name!r}. {suggest(name, self.plots())}")
        return self.path / PLOTS / f"{name}.svg"

    def log_tail(self, lines: int = 50) -> list[str]:
        """Returns the last `lines` lines of log.txt; an empty list if there is no log yet.

        Raises:
            OSError: log.txt cannot be read.
        """
        try:
            with (self.path / LOG).open(encoding="utf-8", errors="replace") as file:
                return [line.rstrip("\n") for line in deque(file, maxlen=lines)]
        except FileNotFoundError:
            return []


def jobs_folder() -> Path:
    """Returns the folder that holds all run folders, `HUBSERVE_HOME/jobs`; it may not exist yet.

    Raises:
        OutputError: There is no folder that can serve as HUBSERVE_HOME; see `hubserve.home.home`.
    """
    return home() / "jobs"


def create(
    definition: str | Mapping[str, Any],
    *,
    name: str | None = None,
    job: Job | None = None,
    where: Path | None = None,
    limits: JobLimits = UNLIMITED,
) -> Run:
    """Creates a run folder in the state "queued" and returns it; `start` starts the job.

    Args:
        definition: Text of a job file, or the mapping that the text describes.
        name: Name of the run, with which its id begins; None takes the definition's.
        job: The definition, if the caller has parsed it; None parses it here.
        where: Folder in which relative paths of the definition start; None takes the working folder of this process.
        limits: What the job may access and use.

    Raises:
        JobError: The definition is not a valid job, see `parse_job`; or a mapping that is not plain data, see `dump_job`.
        StorageError: The folder cannot be written.
        OutputError: There is no folder that can serve as HUBSERVE_HOME; see `hubserve.home.home`.
    """
    text = definition if isinstance(definition, str) else dump_job(definition)
    job = job or parse_job(text, where=name or "the definition")
    now = datetime.now(UTC)
    title = name or job.name
    folder = jobs_folder()
    # Made under a hidden name and renamed, so that no listing shows an incomplete folder.
    with staged_folder(folder, "new") as stage:
        (stage / JOB).write_text(text, "utf-8")
        reserve(stage / REASON)
        (stage / WHERE).write_text(str(where or Path.cwd()), "utf-8")
        if limits != UNLIMITED:
            (stage / LIMITS).write_text(limits.model_dump_json(exclude_none=True), "utf-8")
        run = Run(folder / _new_id(title, now))
        Run(stage).write_status(
            JobStatus(id=run.id, name=title, state="queued", created=now, updated=now, max_trials=job.max_trials)
        )
        with number_lock(folder):
            write_next_number(stage, _run_folders())
            os.rename(stage, run.path)
    return run


def find(job_id: str) -> Run:
    """Returns the run with the id `job_id`.

    Raises:
        JobNotFoundError: There is no such run, or the text is not an id; the message names similar ids.
        StorageError: There is no such run, and this user may not list the folder of runs.
        OutputError: There is no folder that can serve as HUBSERVE_HOME; see `hubserve.home.home`.
    """
    run = Run(jobs_folder() / job_id)
    if not _ID.fullmatch(job_id) or not is_there(run.path / JOB):
        raise JobNotFoundError(f"there is no job {job_id!r}. {suggest(job_id, [known.id for known in list_runs()])}")
    return run


def open_run(path: Path) -> Run:
    """Returns the run in the folder `path`, which may be outside `jobs_folder()`.

    Raises:
        JobError: The folder is no run folder: its status.json or job.yaml cannot be read.
    """
    run = Run(path.resolve())
    run.written_status()
    run.definition()
    return run


def list_runs() -> list[Run]:
    """Returns all runs, the one that was submitted last first.

    Runs that an earlier version made have no sequence number. They come last, ordered by the time of change of job.yaml.

    Raises:
        StorageError: This user may not list the folder of runs.
        OutputError: There is no folder that can serve as HUBSERVE_HOME; see `hubserve.home.home`.
    """

    def order(path: Path) -> tuple[int, int, str]:
        try:
            changed = (path / JOB).stat().st_mtime_ns
        except OSError:  # Not open to this user, or deleted just now.
            changed = 0
        return read_number(path), changed, path.name

    return [Run(path) for path in sorted(_run_folders(), key=order, reverse=True)]


def _run_folders() -> list[Path]:
    """Returns all run folders, in no order. Raises StorageError if this user may not list the folder that holds them."""
    folder = jobs_folder()
    if why := denied(folder):
        raise StorageError(f"the jobs cannot be listed: {why}, or HUBSERVE_HOME names another folder", errno.EACCES)
    return [path for path in folder.glob("*") if _ID.fullmatch(path.name) and is_there(path / JOB)]


def _new_id(name: str, now: datetime) -> str:
    """Returns a new id: `name` without special characters, the time `now`, and eight random hexadecimal digits."""
    readable = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:60] or "job"
    return f"{readable}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def _utf8(value: Any) -> Any:
    """Returns a copy of a value of lists, mappings and texts, whose texts can be encoded as UTF-8."""
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, dict):
        return {_utf8(key): _utf8(inner) for key, inner in value.items()}
    return type(value)(map(_utf8, value)) if isinstance(value, list | tuple) else value
