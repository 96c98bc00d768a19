"""Starts the process of a job in the background, reads its state from any process, asks it to stop, and kills it.

The file `pid` of the run folder holds the id of the job's process, or of the guard above it. It is locked as long as that
process is alive; see `hubserve.background`.
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
from hubserve.failure_reason_file import read_reserved, reserve
from hubserve.jobs.run_folder import JOB, LOG, PID, REASON, STOP, Run, find, list_runs
from hubserve.jobs.status import FINAL, JobStatus, JobSummary
from hubserve.process_tree import adopt_orphans
from hubserve.storage_faults import denial, denied, is_full, storage_error, writing

S = TypeVar("S", bound=JobSummary)

COMMAND = (sys.executable, "-m", "hubserve.pipeline")
"""The command of a job's process; the run folder is its last argument."""

UNREADABLE = "unreadable"
"""The message, in a list of runs, of a run whose files this user may not read."""

LOCK_VARIABLE = "HUBSERVE_RUN_LOCK"
"""Environment variable by which `start` passes the descriptor of the locked file `pid` to the process that it starts."""


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
    """Returns True if the process of this run is alive."""
    return _process(run).is_alive()


def start(run: Run) -> None:
    """Starts a job, or resumes one that was stopped, failed or refused, in a process that outlives this one.

    The process is `python -m hubserve.pipeline FOLDER`; its output is appended to log.txt. Returns as soon as it is started.

    Raises:
        JobError: The job is running or done, the folder is no run folder or its limits.json is corrupt, or the process cannot
            be started.
        StorageError: The run folder cannot be written.
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
    """Context manager that marks a job as running in this process until the block, or the process, ends.

    If the block raises KeyboardInterrupt before it has written a final state, the state "stopped" is written.

    Raises:
        JobError: The run is running in another process, or the folder is no run folder.
        StorageError: The run folder cannot be written.
        KeyboardInterrupt: The job was asked to stop before the block began.
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
    """Asks a job to end and returns its status at once; its state is "stopping" until its process has ended.

    A job in a final state stays as it is.

    Raises:
        JobError: The folder is no run folder, or its status.json cannot be read.
        OSError: The file `stop` cannot be created in the run folder.
    """
    if read_summary(run).state not in FINAL:
        # Also where no process is alive: the job is "stopped" then.
        (run.path / STOP).touch()
        _process(run).request_stop()
    return read(run)


def end_soon(run: Run) -> JobSummary:
    """Asks a job to end, as `request_stop` does, and returns its state at once; it is killed if it does not end in time.

    A thread of this process kills it after `hubserve.background.STOP_SECONDS`. If this process ends earlier, only the job's
    guard kills it.

    Raises:
        JobError: The folder is no run folder, or its status.json cannot be read.
        OSError: The file `stop` cannot be created in the run folder.
    """
    if read_summary(run).state not in FINAL:
        (run.path / STOP).touch()
        _process(run).end_soon()
    return read_summary(run)


def stop(run: Run, *, grace_seconds: float = 20.0) -> JobStatus:
    """Stops a job, waits until it has ended, and returns its status. A job in a final state stays as it is.

    Args:
        run: The run to stop.
        grace_seconds: Seconds to wait, at least 0, before this process kills the job and all processes that it started. The
            guard of a job that was started in the background kills it 2 s after the request.

    Raises:
        JobError: The folder is no run folder, its status.json cannot be read, or the process cannot be ended.
        OSError: The file `stop` cannot be created in the run folder.
    """
    request_stop(run)
    if not _process(run).kill_after(grace_seconds):
        raise JobError(f"{run.id} did not end {KILL_SECONDS:g} s after SIGKILL; its process may belong to another user")
    return read(run)


def delete(run: Run) -> None:
    """Deletes the run folder.

    Raises:
        JobError: The job is running.
        OSError: The folder, or a file in it, cannot be deleted.
    """
    if is_running(run):
        raise JobError(f"{run.id} is running; stop it first")
    shutil.rmtree(run.path)


def _queue(run: Run) -> None:
    """Writes the state "queued" and removes an earlier request to stop. Raises JobError if the job is done."""
    status = run.written_status()
    if status.state == "done":
        raise JobError(f"{run.id} is done{f': it published {status.published}' if status.published else ''}; submit it anew")
    (run.path / STOP).unlink(missing_ok=True)
    run.write_status(status.model_copy(update={"state": "queued", "error": None, "updated": datetime.now(UTC)}))


def _take_lock(run: Run) -> int:
    """Returns a descriptor that holds the lock of the run.

    Raises:
        JobError: The folder is no run folder, or another process holds the lock.
        StorageError: The file `pid` cannot be written.
    """
    if not (run.path / JOB).is_file():
        raise JobError(f"{run.path} is not the folder of a job: it has no {JOB}")
    try:
        with writing(run.path / PID):
            return _process(run).take_lock()
    except BlockingIOError as error:
        raise JobError(f"{run.id} is running already; `hubserve jobs {run.id}` shows it") from error


def _process(run: Run) -> BackgroundProcess:
    """Returns a handle to the run's process. The file `pid` is both its lock file and its group file."""
    return BackgroundProcess(run.path / PID, run.path / PID, run.path / STOP, run.path / REASON)


def _inherited_lock(run: Run) -> int | None:
    """Returns the descriptor that `start` locked for this process; None if this process was not started for this run."""
    try:
        lock = int(os.environ.pop(LOCK_VARIABLE, ""))
        return lock if os.path.samestat(os.fstat(lock), os.stat(run.path / PID)) else None
    except (ValueError, OSError):
        return None


def _how_to_resume(run: Run, what: str) -> str:
    """Returns `what`, followed by where the last output of the job is and by the command that resumes it."""
    return f"{what}. {run.path / LOG} has its last output; `hubserve search --run {run.path}` goes on where it was"
