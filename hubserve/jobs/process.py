"""The process of a job: started in the background, looked up from any process, asked to stop and then killed.

The file `pid` of the run folder holds the id of its process, or of the guard above it, and is locked while it is alive; see
`hubserve.background`.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TypeVar

from hubserve.background import KILL_SECONDS, BackgroundProcess, note_pid
from hubserve.errors import JobError, StorageError
from hubserve.jobs.run_folder import JOB, LOG, PID, REASON, STOP, Run, find, list_runs
from hubserve.jobs.status import FINAL, JobStatus, JobSummary
from hubserve.process_tree import adopt_orphans
from hubserve.reserved_file import read_reserved, reserve
from hubserve.storage_faults import denial, denied, is_full, storage_error, writing

S = TypeVar("S", bound=JobSummary)

COMMAND = (sys.executable, "-m", "hubserve.pipeline")
"""The command of a job's process; the run folder is its last argument."""

UNREADABLE = "unreadable"
"""Message of a run in a list whose files this user may not read."""

LOCK_VARIABLE = "HUBSERVE_RUN_LOCK"
"""Environment variable that gives a started process the descriptor of its locked file."""


def read(run: Run) -> JobStatus:
    """The status of a job: what its process wrote, corrected if that process is stopping or was killed.

    A job that was asked to stop is "stopping" and, once its process ended, "stopped"; if the process ended without writing a
    final state, the job is "failed", with how to continue. Nothing is written.

    Raises:
        JobError: The folder is no run folder, or its status is corrupt.
    """
    return _corrected(run, run.written_status)


def read_summary(run: Run) -> JobSummary:
    """Returns the state of a run like `read`, but without its single trials."""
    return _corrected(run, run.written_summary)


def list_summaries(limit: int | None = None, *, after: str | None = None) -> list[JobSummary]:
    """The states of all runs, newest first; runs whose status is corrupt are left out.

    A run that this user may not read is "failed" with the message `UNREADABLE`, and its `error` says why.

    Args:
        limit: Largest number of runs; None lists all.
        after: Id of a run, to list those that are older; None begins with the newest one.

    Raises:
        JobNotFoundError: There is no run `after`.
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
    try:
        changed = datetime.fromtimestamp(run.path.stat().st_mtime, UTC)
    except OSError:
        changed = datetime.fromtimestamp(0, UTC)
    return JobSummary(
        id=run.id, name=run.id, state="failed", message=UNREADABLE, created=changed, updated=changed, error=f"{run.id}: {why}"
    )


def _corrected(run: Run, written: Callable[[], S]) -> S:
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
        return status.model_copy(update={"state": "stopped", "message": "stopped", "error": _how_to_resume(run, "stopped")})
    if not (run.path / PID).exists():
        return status
    at = f" while at {status.phase}" if status.phase else ""
    reason = read_reserved(run.path / REASON)
    if not reason and is_full(run.path):
        reason = f"its process ended{at}, and no space is left on the disk of {run.path}"
    gone = reason or f"its process vanished{at}: killed, out of memory, or the machine restarted"
    message = "failed" if reason else "vanished"
    return status.model_copy(update={"state": "failed", "message": message, "error": _how_to_resume(run, gone)})


def is_running(run: Run) -> bool:
    """Returns whether the process of this run is alive."""
    return _process(run).is_alive()


def start(run: Run) -> None:
    """Starts a job, or continues one that was stopped, failed or refused, in a process that outlives this one.

    The process is `python -m hubserve.pipeline FOLDER`; its output goes to log.txt.

    Raises:
        JobError: The job is running or done, or the process cannot be started.
    """
    lock = _take_lock(run)
    try:
        _queue(run)
        limits = run.limits
        _process(run).start(
            [*COMMAND, str(run.path)],
            log=run.path / LOG,
            lock=lock,
            environment=os.environ | {LOCK_VARIABLE: str(lock), "PYTHONUNBUFFERED": "1"},
            # What earlier processes of this run took is gone.
            seconds=None if limits.seconds is None else max(0.0, limits.seconds - run.written_status().seconds),
            memory_mb=limits.memory_mb,
        )
    except OSError as error:
        raise storage_error(error) or JobError(f"cannot start {run.id}: {error.strerror or error}") from error
    finally:
        # The started process has a copy of this descriptor, and the lock with it.
        os.close(lock)


@contextmanager
def hold(run: Run) -> Iterator[None]:
    """Marks a job as running in this process until the block, or the process, ends.

    If a KeyboardInterrupt leaves the block before it wrote a final state, the state "stopped" is written.

    Raises:
        JobError: Another process is working on the run.
    """
    lock = _inherited_lock(run)
    if lock is None:
        lock = _take_lock(run)
        (run.path / STOP).unlink(missing_ok=True)
        reserve(run.path / REASON)
        adopt_orphans()
        note_pid(lock)
    try:
        # Processes that the job starts do not inherit the lock: one that outlives the job would keep it "running".
        os.set_inheritable(lock, False)
        if (run.path / STOP).exists():
            raise KeyboardInterrupt  # Requested before the file had this process's id.
        yield
    except KeyboardInterrupt:
        status = run.written_status()
        if status.state not in FINAL:
            stopped: dict[str, object] = {"state": "stopped", "message": "stopped", "error": _how_to_resume(run, "stopped")}
            with suppress(StorageError):  # `read` says the same where nothing can be written.
                run.write_status(status.model_copy(update={**stopped, "updated": datetime.now(UTC)}))
        raise
    finally:
        adopt_orphans(False)
        os.close(lock)


def request_stop(run: Run) -> JobStatus:
    """Asks a job to end and returns at once; its state is "stopping" until it has ended.

    Raises:
        JobError: The folder is no run folder.
    """
    if read_summary(run).state not in FINAL:
        # Also where no process is alive: the job is "stopped" then.
        (run.path / STOP).touch()
        _process(run).request_stop()
    return read(run)


def end_soon(run: Run) -> JobSummary:
    """Asks a job to end and returns at once, like `request_stop`; what has not ended some seconds later is killed.

    Raises:
        JobError: The folder is no run folder.
    """
    if read_summary(run).state not in FINAL:
        (run.path / STOP).touch()
        _process(run).end_soon()
    return read_summary(run)


def stop(run: Run, *, grace_seconds: float = 20.0) -> JobStatus:
    """Stops a job and waits until it has ended; a job in a final state stays as it is.

    Args:
        run: The run to stop.
        grace_seconds: Seconds to wait, at least 0, before the job is killed from here with all processes that it started.
            Its guard, if it was started in the background, does so after 2 s.

    Raises:
        JobError: The folder is no run folder, or the process cannot be ended.
    """
    request_stop(run)
    if not _process(run).kill_after(grace_seconds):
        raise JobError(f"{run.id} did not end {KILL_SECONDS:g} s after SIGKILL; its process may belong to another user")
    return read(run)


def delete(run: Run) -> None:
    """Deletes the run folder. Raises JobError while the job is running."""
    if is_running(run):
        raise JobError(f"{run.id} is running; stop it first")
    shutil.rmtree(run.path)


def _queue(run: Run) -> None:
    status = run.written_status()
    if status.state == "done":
        raise JobError(f"{run.id} is done{f': it published {status.published}' if status.published else ''}; submit it anew")
    (run.path / STOP).unlink(missing_ok=True)
    run.write_status(status.model_copy(update={"state": "queued", "error": None, "updated": datetime.now(UTC)}))


def _take_lock(run: Run) -> int:
    """A descriptor that holds the lock of the run. Raises JobError if another process works on it."""
    if not (run.path / JOB).is_file():
        raise JobError(f"{run.path} is not the folder of a job: it has no {JOB}")
    try:
        with writing(run.path / PID):
            return _process(run).take_lock()
    except BlockingIOError as error:
        raise JobError(f"{run.id} is running already; `hubserve jobs {run.id}` shows it") from error


def _process(run: Run) -> BackgroundProcess:
    """Returns a handle of the run's process, which locks the file `pid` of the run folder and writes its id there."""
    return BackgroundProcess(run.path / PID, run.path / PID, run.path / STOP, run.path / REASON)


def _inherited_lock(run: Run) -> int | None:
    """The descriptor that `start` locked for this process; None if it did not, or for another run."""
    try:
        lock = int(os.environ.pop(LOCK_VARIABLE, ""))
        return lock if os.path.samestat(os.fstat(lock), os.stat(run.path / PID)) else None
    except (ValueError, OSError):
        return None


def _how_to_resume(run: Run, what: str) -> str:
    return f"{what}. {run.path / LOG} has its last output; `hubserve search --run {run.path}` goes on where it was"
