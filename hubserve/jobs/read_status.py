"""Reads the state of a job from any process: what the job's process wrote last, corrected if that process was killed.

The file `pid` of the run folder holds the id of the job's process, or of the guard above it. It is locked as long as that
process is alive; see `hubserve.background`.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from hubserve.background import BackgroundProcess
from hubserve.errors import JobError
from hubserve.failure_reason_file import read_reserved
from hubserve.jobs.run_folder import LOG, PID, REASON, STOP, Run, find, list_runs
from hubserve.jobs.status import FINAL, JobStatus, JobSummary
from hubserve.storage_faults import denial, denied, is_full

S = TypeVar("S", bound=JobSummary)

UNREADABLE = "unreadable"
"""The message, in a list of runs, of a run whose files this user may not read."""


def read(run: Run) -> JobStatus:
    """Returns the status of a job: what its process wrote last, corrected if that process is stopping or has ended.

    The state of a job that was asked to stop is "stopping" as long as its process is alive, and then "stopped". If the process
    has ended without writing a final state, the state is "failed", and `error` says how to resume the job. Nothing is written.
    If this user may not read the file `pid`, nothing is corrected, since it is unknown whether the process is alive.

    Raises:
        JobError: The folder is no run folder, or its status.json cannot be read.
    """
    return _corrected(run, run.written_status)


def read_summary(run: Run) -> JobSummary:
    """Returns the status of a job as `read` does, but without its single trials and epochs.

    Raises:
        JobError: The folder is no run folder, or its status.json cannot be read.
    """
    return _corrected(run, run.written_summary)


def list_summaries(limit: int | None = None, *, after: str | None = None) -> list[JobSummary]:
    """Returns the states of all runs, newest first. Runs whose status.json is corrupt are left out.

    A run that this user may not read has the state "failed" and the message `UNREADABLE`; its `error` says whose file it is.

    Args:
        limit: Largest number of runs to return; None returns all.
        after: Id of a run; only runs older than it are returned. None begins with the newest run.

    Raises:
        JobNotFoundError: There is no run `after`.
        StorageError: This user may not list the folder of runs.
        OutputError: There is no folder that can serve as HUBSERVE_HOME; see `hubserve.home.home`.
    """
    runs = list_runs()
    if after is not None:
        runs = runs[runs.index(find(after)) + 1 :]
    found: list[JobSummary] = []
    for run in runs:
        if limit is not None and len(found) >= limit:
            break
        try:
            found.append(read_summary(run))
        except JobError as error:
            if why := denial(error):
                found.append(_unreadable(run, why))
    return found


def _unreadable(run: Run, why: str) -> JobSummary:
    """Returns the summary of a run that this user may not read.

    Its `error` is `why`, and its times are the time of change of its folder.
    """
    try:
        changed = datetime.fromtimestamp(run.path.stat().st_mtime, UTC)
    except OSError:
        changed = datetime.fromtimestamp(0, UTC)
    return JobSummary(
        id=run.id, name=run.id, state="failed", message=UNREADABLE, created=changed, updated=changed, error=f"{run.id}: {why}"
    )


def _corrected(run: Run, written: Callable[[], S]) -> S:
    """Calls `written`, which returns what status.json holds, and returns that with the state corrected as `read` describes."""
    status = written()
    if status.state in FINAL:
        return status
    if denied(run.path / PID):  # Then nobody but its owner sees whether its process is alive.
        return status
    if is_running(run):
        asked = (run.path / STOP).exists()
        return status.model_copy(update={"state": "stopping", "message": "stopping"}) if asked else status
    # The process may have ended, properly, since the status was read.
    status = written()
    if status.state in FINAL:
        return status
    if (run.path / STOP).exists():
        return status.model_copy(update={"state": "stopped", "message": "stopped", "error": how_to_resume(run, "stopped")})
    if not (run.path / PID).exists():
        return status
    at = f" while at {status.phase}" if status.phase else ""
    reason = read_reserved(run.path / REASON)
    if not reason and is_full(run.path):
        reason = f"its process ended{at}, and no space is left on the disk of {run.path}"
    gone = reason or f"its process vanished{at}: killed, out of memory, or the machine restarted"
    message = "failed" if reason else "vanished"
    return status.model_copy(update={"state": "failed", "message": message, "error": how_to_resume(run, gone)})


def is_running(run: Run) -> bool:
    """Returns True if the process of this run is alive; False, too, if this user may not read the file `pid`."""
    return process_of(run).is_alive()


def process_of(run: Run) -> BackgroundProcess:
    """Returns a handle to the run's process. The file `pid` is both its lock file and its group file."""
    return BackgroundProcess(run.path / PID, run.path / PID, run.path / STOP, run.path / REASON)


def how_to_resume(run: Run, what: str) -> str:
    """Returns `what`, followed by where the last output of the job is and by the command that resumes it."""
    return f"{what}. {run.path / LOG} has its last output; `hubserve search --run {run.path}` goes on where it was"
