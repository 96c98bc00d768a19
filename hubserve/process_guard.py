"""Program that runs a command under limits of time and memory, and removes all that it leaves when it ends.

python -m hubserve.process_guard GUARD COMMAND...

GUARD is a `Guard` as JSON. The guard is a process of its own, so the limits stay in force when the server that started a job
or an export is restarted; it does not import torch. When the command ends, exceeds a limit, or the guard gets SIGTERM, the
guard kills all processes that the command started, also those in other process groups and sessions, and removes their
unfinished files.
"""

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

from pydantic import BaseModel, ConfigDict

from hubserve.atomic import STAGED_VARIABLE, remove_staged
from hubserve.failure_reason_file import write_reserved
from hubserve.process_tree import adopt_orphans, end_with_parent, kill_descendants, memory_bytes
from hubserve.storage_faults import storage_error
from hubserve.usable_resources import cores

GRACE_SECONDS = 2.0
"""Seconds that the command has to end by itself after SIGTERM, before it is killed."""

KILL_SECONDS = 30.0
"""Seconds after which the guard ends although a killed process still exists, such as one that waits for a disk."""

POLL_SECONDS, MEMORY_SECONDS = 0.05, 0.5
"""Seconds between two checks of whether the command has ended, and between two checks of its memory."""

SLACK_BYTES_PER_CORE = 64 << 20
"""Bytes, for each core, that a process may reserve beyond the memory limit: libraries reserve memory that they do not use."""


class Guard(BaseModel):
    """Limits of a command, and the files through which the guard is controlled and reports.

    Attributes:
        group_file: File to which the guard writes its process id. SIGTERM to that process ends the command.
        stop_file: File whose existence ends the command, in the same way as SIGTERM to the guard.
        reason_file: File to which the guard writes a sentence if the command exceeded a limit, or the guard failed, for
            example because a disk was full.
        seconds: Wall-clock time in seconds after which the command is killed; None sets no limit.
        memory_mb: Memory of all its processes together, in megabytes (10^6 bytes), above which it is killed; None sets no
            limit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    group_file: Path
    stop_file: Path
    reason_file: Path
    seconds: float | None = None
    memory_mb: float | None = None


class _Stopped(BaseException):
    """Raised in the guard if it got SIGTERM, or the stop file exists."""


def main(guard: Guard, command: list[str]) -> int:
    """Runs `command` until it ends, exceeds a limit or is stopped; removes what it leaves, and returns its exit code.

    The exit code is negative if a signal ended the command (-9 for SIGKILL), and 1 if the command exceeded a limit. After a
    stop it is 137 if the command had to be killed, and 143 if it had not been started. Must be called in the main thread.

    Args:
        guard: Limits of the command, and files of the guard.
        command: Program and its arguments.

    Raises:
        OSError: The command cannot be started, or `group_file` or a temporary folder cannot be written.
    """
    if os.getpgrp() != os.getpid():
        os.setsid()
    adopt_orphans()
    scratch = Path(tempfile.mkdtemp(prefix="hubserve-"))
    staged = scratch / "staged"
    staged.touch()
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Written after the handler is set, so that SIGTERM to the process id in the file always ends the command, too.
    guard.group_file.write_text(f"{os.getpid()}\n")
    child: subprocess.Popen[bytes] | None = None
    try:
        environment = os.environ | {"TMPDIR": str(scratch), STAGED_VARIABLE: str(staged)}
        child = subprocess.Popen(command, env=environment, close_fds=False, preexec_fn=lambda: _confine(guard.memory_mb))
        return _wait(child, guard)
    except _Stopped:
        return _end(child)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        kill_descendants(os.getpid(), seconds=KILL_SECONDS)
        remove_staged(staged)
        shutil.rmtree(scratch, ignore_errors=True)


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Stopped


def _confine(memory_mb: float | None) -> None:
    """Prepares the process of the command before its program is loaded.

    Resets the handling of SIGTERM, has the process killed when the guard ends, and limits its memory if `memory_mb` is given.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()
    if memory_mb is not None:
        confine_memory(0, memory_mb)


def confine_memory(pid: int, memory_mb: float) -> None:
    """Limits the memory of a single process, by RLIMIT_DATA: allocations beyond the limit fail in that process.

    The limit acts at once, while the guard checks memory, of all processes together, every `MEMORY_SECONDS`. Does nothing if
    the operating system does not support the limit.

    Args:
        pid: Id of the process; 0 is this process. Processes that it starts later inherit the limit.
        memory_mb: Limit in megabytes, to which `SLACK_BYTES_PER_CORE` is added for each core.
    """
    most = int(memory_mb * 1e6) + SLACK_BYTES_PER_CORE * cores()
    with suppress(OSError, ValueError, AttributeError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_DATA)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.prlimit(pid, resource.RLIMIT_DATA, (most, most))


def _wait(child: subprocess.Popen[bytes], guard: Guard) -> int:
    began = looked = time.monotonic()
    while True:
        code = _ended(child)
        if code is not None:
            return code
        if guard.stop_file.exists():
            raise _Stopped
        now = time.monotonic()
        if guard.seconds is not None and now - began > guard.seconds:
            return _exceeded(guard, f"it was ended after {guard.seconds:.0f} s, the most that it may take")
        if guard.memory_mb is not None and now - looked > MEMORY_SECONDS:
            looked = now
            used = memory_bytes(os.getpid(), guard.memory_mb * 1e6) / 1e6
            if used > guard.memory_mb:
                return _exceeded(guard, f"it was ended: {used:.0f} MB of memory, and it may have {guard.memory_mb:.0f}")
        time.sleep(POLL_SECONDS)


def _exceeded(guard: Guard, reason: str) -> int:
    kill_descendants(os.getpid(), seconds=KILL_SECONDS)
    write_reserved(guard.reason_file, reason)
    print(reason, file=sys.stderr, flush=True)
    return 1


def _ended(child: subprocess.Popen[bytes]) -> int | None:
    """Returns the exit code of the command, or None while it runs; also reaps adopted orphans that have ended."""
    code = child.poll()
    # WNOWAIT leaves the exit status of the command itself to Popen.
    with suppress(ChildProcessError):
        while code is None and (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if found.si_pid == child.pid:
                return child.wait()
            os.waitpid(found.si_pid, 0)
    return code


def _end(child: subprocess.Popen[bytes] | None) -> int:
    """Sends SIGTERM to the command and returns its exit code; 137 if it has not ended after `GRACE_SECONDS`.

    Returns 143 if the command had not been started (`child` is None).
    """
    if child is None:
        return 128 + signal.SIGTERM
    child.terminate()
    try:
        return child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        return 128 + signal.SIGKILL


if __name__ == "__main__":
    given = Guard.model_validate_json(sys.argv[1])
    try:
        code = main(given, sys.argv[2:])
    except OSError as failed:
        # An example is a full TMPDIR. The sentence in the file becomes the message of the job or export.
        write_reserved(given.reason_file, str(storage_error(failed) or failed))
        raise
    sys.exit(code if code >= 0 else 128 - code)
