"""Runs a command, holds it and all that it starts to limits, and ends with all of them.

python -m hubserve.process_guard GUARD COMMAND...

GUARD is a `Guard` as JSON. This process needs neither torch nor the one that started it, so the limits hold when the server
that asked for a job or an export is started again. After SIGTERM, or when the command ends or exceeds a limit, nothing that
the command started is left: no process, wherever it moved to, and no unfinished file.
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
from hubserve.process_tree import adopt_orphans, end_with_parent, kill_descendants, memory_bytes
from hubserve.reserved_file import write_reserved
from hubserve.storage_faults import storage_error
from hubserve.usable_resources import cores

GRACE_SECONDS = 2.0
"""Time that the command has to end by itself after SIGTERM; then it is killed."""

KILL_SECONDS = 30.0
"""Time after which the guard ends although a killed process is still there, such as one that waits for a disk."""

POLL_SECONDS, MEMORY_SECONDS = 0.05, 0.5
"""Time between two looks at whether the command has ended, and at how much memory it has."""

SLACK_BYTES_PER_CORE = 64 << 20
"""Address space beyond the memory limit that each process may have for each core: libraries reserve what they do not use."""


class Guard(BaseModel):
    """Limits of a command, and the files about it.

    Attributes:
        group_file: Gets the process id of the guard; SIGTERM to it ends the command.
        stop_file: The command is ended, as after SIGTERM, as soon as there is such a file.
        reason_file: Gets a sentence when the command was ended because it exceeded a limit.
        seconds: Wall-clock time after which the command is killed; None sets no limit.
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
    """SIGTERM came."""


def main(guard: Guard, command: list[str]) -> int:
    """Runs `command` in a session of its own until it ends or has to end; returns its exit code."""
    if os.getpgrp() != os.getpid():
        os.setsid()
    adopt_orphans()
    scratch = Path(tempfile.mkdtemp(prefix="hubserve-"))
    staged = scratch / "staged"
    staged.touch()
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Only now: from here on a SIGTERM to this process ends the command as well.
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
    """Prepares the command's process before the command begins: signals, end with the guard, and the memory limit."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()
    if memory_mb is not None:
        confine_memory(0, memory_mb)


def confine_memory(pid: int, memory_mb: float) -> None:
    """Limits the memory that one process can ask for: beyond it, it gets an error. A stop before `Guard` looks again.

    Args:
        pid: The process; 0 is this one. Processes that it starts have the same limit.
        memory_mb: Limit in megabytes; what libraries reserve for each core and do not use comes on top.
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
    """The exit code of the command; None while it runs. Adopted orphans that ended are collected."""
    code = child.poll()
    # WNOWAIT: the status of the command itself is left to Popen.
    with suppress(ChildProcessError):
        while code is None and (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if found.si_pid == child.pid:
                return child.wait()
            os.waitpid(found.si_pid, 0)
    return code


def _end(child: subprocess.Popen[bytes] | None) -> int:
    """Ends the command after SIGTERM."""
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
        # Such as a full TMPDIR: whoever reads the state finds the sentence.
        write_reserved(given.reason_file, str(storage_error(failed) or failed))
        raise
    sys.exit(code if code >= 0 else 128 - code)
