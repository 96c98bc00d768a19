"""The process of a job: started in the background, looked up from any process, asked to stop and then killed.

The file `pid` of the run folder holds its process id and is locked while it is alive; see `hubserve.background`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from hubserve.background import KILL_SECONDS, BackgroundProcess, lead_a_session, note_pid
from hubserve.errors import JobError
from hubserve.jobs.run_folder import JOB, LOG, PID, STOP, Run, list_runs, remove
from hubserve.jobs.status import FINAL, JobStatus

COMMAND = (sys.executable, "-m", "hubserve.pipeline")
"""The command of a job's process; the run folder is its last argument."""

LOCK_VARIABLE = "HUBSERVE_RUN_LOCK"
"""Tells a started process which of its open files is the locked one."""


def read(run: Run) -> JobStatus:
    """The status of a job: what its process wrote, put right by what became of that process.

    A process that was asked to end is "stopping", then "stopped"; one that is gone without a word is "failed", with the reason
    and how to go on. Nothing is written.

    Raises:
        JobError: not a run folder, or a damaged one.
    """
    status = run.written_status()
    if status.state in FINAL:
        return status
    if is_running(run):
        asked = (run.path / STOP).exists()
        return status.model_copy(update={"state": "stopping", "message": "stopping"}) if asked else status
    # The process may have ended, properly, since the status was read.
    status = run.written_status()
    if status.state in FINAL:
        return status
    if (run.path / STOP).exists():
        return status.model_copy(update={"state": "stopped", "message": "stopped", "error": _how_to_resume(run, "stopped")})
    if not (run.path / PID).exists():
        return status
    at = f" while at {status.phase}" if status.phase else ""
    gone = f"its process vanished{at}: killed, out of memory, or the machine restarted"
    return status.model_copy(update={"state": "failed", "message": "vanished", "error": _how_to_resume(run, gone)})


def list_statuses() -> list[JobStatus]:
    """Of all jobs, those made last first; a damaged folder is left out."""
    found = []
    for run in list_runs():
        with suppress(JobError):
            found.append(read(run))
    return found


def is_running(run: Run) -> bool:
    """Whether a process works for this job now."""
    return _process(run).is_alive()


def start(run: Run) -> None:
    """Begins a job, or goes on with one that stopped or failed, in a process that outlives this one.

    The process is `python -m hubserve.pipeline FOLDER`; its output goes to log.txt.

    Raises:
        JobError: it runs already, or is done, or the process cannot be started.
    """
    lock = _take_lock(run)
    try:
        _queue(run)
        environment = os.environ | {LOCK_VARIABLE: str(lock), "PYTHONUNBUFFERED": "1"}
        # The file holds the id of the process group until the process notes its own, in `hold`.
        _process(run).start([*COMMAND, str(run.path)], log=run.path / LOG, lock=lock, environment=environment)
    except OSError as error:
        raise JobError(f"cannot start {run.id}: {error.strerror or error}") from error
    finally:
        # The started process has a copy of this descriptor, and the lock with it.
        os.close(lock)


@contextmanager
def hold(run: Run) -> Iterator[None]:
    """In the job's own process: marks the job as running until the block, or the process, ends.

    An interrupt that the block has not noted itself is noted as a stop.

    Raises:
        JobError: another process works for it.
    """
    lock = _inherited_lock(run)
    if lock is None:
        lock = _take_lock(run)
        (run.path / STOP).unlink(missing_ok=True)
    else:
        lead_a_session()
    try:
        # Not for the processes that the job starts in turn: one that outlives the job must not pass for it.
        os.set_inheritable(lock, False)
        note_pid(lock)
        if (run.path / STOP).exists():
            raise KeyboardInterrupt  # Asked for while the file still had another number.
        yield
    except KeyboardInterrupt:
        status = run.written_status()
        if status.state not in FINAL:
            stopped: dict[str, object] = {"state": "stopped", "message": "stopped", "error": _how_to_resume(run, "stopped")}
            run.write_status(status.model_copy(update={**stopped, "updated": datetime.now(UTC)}))
        raise
    finally:
        os.close(lock)


def request_stop(run: Run) -> JobStatus:
    """Asks a job to end soon and returns at once; the state is "stopping" until it has.

    Raises:
        JobError: not a run folder.
    """
    if read(run).state not in FINAL:
        (run.path / STOP).touch()
        _process(run).send_signal(signal.SIGTERM)
    return read(run)


def stop(run: Run, *, grace_seconds: float = 20.0) -> JobStatus:
    """Ends a job and waits for it; a job that is over stays as it is.

    Args:
        run: of the job.
        grace_seconds: for it to note where it is; then it, and all processes that it started, are killed.

    Raises:
        JobError: not a run folder, or the process cannot be ended.
    """
    request_stop(run)
    if not _process(run).kill_after(grace_seconds):
        raise JobError(f"{run.id} did not end {KILL_SECONDS:g} s after SIGKILL; its process may belong to another user")
    return read(run)


def delete(run: Run) -> None:
    """Takes the run folder of a job away that is over. Raises JobError while it runs."""
    if is_running(run):
        raise JobError(f"{run.id} is running; stop it first")
    remove(run)


def _queue(run: Run) -> None:
    status = run.written_status()
    if status.state == "done":
        raise JobError(f"{run.id} is done{f': it published {status.published}' if status.published else ''}; submit it anew")
    (run.path / STOP).unlink(missing_ok=True)
    run.write_status(status.model_copy(update={"state": "queued", "error": None, "updated": datetime.now(UTC)}))


def _take_lock(run: Run) -> int:
    """A locked descriptor of the file `pid`. Waits for those who only look, not for a process that holds it."""
    if not (run.path / JOB).is_file():
        raise JobError(f"{run.path} is not the folder of a job: it has no {JOB}")
    try:
        return _process(run).take_lock()
    except BlockingIOError as error:
        raise JobError(f"{run.id} is running already; `hubserve jobs {run.id}` shows it") from error


def _process(run: Run) -> BackgroundProcess:
    return BackgroundProcess(run.path / PID, run.path / PID)


def _inherited_lock(run: Run) -> int | None:
    """The descriptor that `start` locked for us, if it did, and if it is that of this run."""
    try:
        lock = int(os.environ.pop(LOCK_VARIABLE, ""))
        return lock if os.path.samestat(os.fstat(lock), os.stat(run.path / PID)) else None
    except (ValueError, OSError):
        return None


def _how_to_resume(run: Run, what: str) -> str:
    return f"{what}. {run.path / LOG} has the last words; `hubserve search --run {run.path}` goes on where it was"
