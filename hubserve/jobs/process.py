"""Starts the process of a job in the background, asks it to stop, and kills it; `hubserve.jobs.read_status` reads its state."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from hubserve.background import KILL_SECONDS, note_pid
from hubserve.errors import JobError, StorageError
from hubserve.failure_reason_file import reserve
from hubserve.jobs.read_status import how_to_resume, is_running, process_of, read, read_summary
from hubserve.jobs.run_folder import JOB, LOG, PID, REASON, STOP, Run
from hubserve.jobs.status import FINAL, JobStatus, JobSummary
from hubserve.process_tree import adopt_orphans
from hubserve.storage_faults import storage_error, writing

COMMAND = (sys.executable, "-m", "hubserve.pipeline")
"""The command of a job's process; the run folder is its last argument."""

LOCK_VARIABLE = "HUBSERVE_RUN_LOCK"
"""Environment variable by which `start` passes the descriptor of the locked file `pid` to the process that it starts."""


def start(run: Run) -> None:
    """Starts a job, or resumes one that was stopped, failed or refused, in a process that outlives this one.

    The process is `python -m hubserve.pipeline FOLDER`; its output is appended to log.txt. Returns as soon as it is started.

    Raises:
        JobError: The job is running or done, the folder is no run folder, its status.json or limits.json cannot be read, or the
            process cannot be started.
        StorageError: The run folder cannot be written.
    """
    lock = _take_lock(run)
    try:
        _queue(run)
        limits = run.limits
        process_of(run).start(
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
        OSError: The run folder cannot be written (StorageError for the file `pid`).
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
            stopped: dict[str, object] = {"state": "stopped", "message": "stopped", "error": how_to_resume(run, "stopped")}
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
        process_of(run).request_stop()
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
        process_of(run).end_soon()
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
    if not process_of(run).kill_after(grace_seconds):
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
    """Writes the state "queued" and removes an earlier request to stop.

    Raises:
        JobError: The job is done, or its status.json cannot be read.
        OSError: The run folder cannot be written.
    """
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
            return process_of(run).take_lock()
    except BlockingIOError as error:
        raise JobError(f"{run.id} is running already; `hubserve jobs {run.id}` shows it") from error


def _inherited_lock(run: Run) -> int | None:
    """Returns the descriptor that `start` locked for this process; None if this process was not started for this run."""
    try:
        lock = int(os.environ.pop(LOCK_VARIABLE, ""))
        return lock if os.path.samestat(os.fstat(lock), os.stat(run.path / PID)) else None
    except (ValueError, OSError):
        return None
