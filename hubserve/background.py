"""Background processes that outlive the process that starts them: how to start, find, and stop them with all their children.

Each runs below a process of `hubserve.process_guard`, which enforces its limits and ends what is left of it. A process counts
as alive while a lock (`flock`) on its file is held: it holds the lock from its start on, and the kernel releases the lock
however the process ends. A process id alone is no proof, because the kernel reuses the ids of processes that have ended.
"""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hubserve.failure_reason_file import reserve
from hubserve.process_tree import kill_descendants, kill_tree
from hubserve.storage_faults import is_full

GUARD = "hubserve.process_guard"

TOKEN_VARIABLES = ("HUBSERVE_TOKEN", "HUBSERVE_READ_TOKEN")
"""Environment variables with the service's tokens, which are not passed on to background processes."""

LOCK_SECONDS = 0.4
"""Longest wait for the lock in `take_lock`, in seconds: `is_alive`, called in another process, holds it for a moment."""

STOP_SECONDS = 3.0
"""Seconds after `end_soon` after which a process is killed; its guard kills the command earlier, after its `GRACE_SECONDS`."""

CLEAN_SECONDS = 1.0
"""Seconds that a guard has to remove unfinished files after all processes that it started have ended."""

KILL_SECONDS = 10.0
"""Seconds that the kernel may take to end a process after SIGKILL."""

DETACH = ("/bin/sh", "-c", 'echo $$ >"$0"; "$@" &')
"""Shell command that starts another command in the background, so that it is not a descendant of this process.

The shell writes its own process id, which is the id of the new process group, to the file $0 and ends at once. A session of
its own is not enough: when BentoML's supervisor stops a worker, it signals all descendants of the worker.
"""


@dataclass(frozen=True)
class BackgroundProcess:
    """A background process, identified by four files; `lock_file` and `group_file` may be the same file.

    Attributes:
        lock_file: File that is locked while the process, or any process that it started, is alive.
        group_file: File that holds the id of the process group at first, and then the process id of the guard, or of the
            process itself if it has no guard (`note_pid`).
        stop_file: File whose existence means that the process was asked to stop.
        reason_file: File that gets a sentence if the process was ended because it exceeded a limit, or the disk was full.
    """

    lock_file: Path
    group_file: Path
    stop_file: Path
    reason_file: Path

    def is_alive(self) -> bool:
        """Returns whether a process holds the lock at this moment; False if the file cannot be opened."""
        try:
            lock = os.open(self.lock_file, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def take_lock(self) -> int:
        """Takes the lock and returns a file descriptor that holds it until the last copy of the descriptor is closed.

        Raises:
            BlockingIOError: Another process holds the lock, and did so for `LOCK_SECONDS`.
            OSError: The lock file cannot be opened.
        """
        lock = os.open(self.lock_file, os.O_RDWR | os.O_CREAT, 0o644)
        end = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                if time.monotonic() > end:
                    os.close(lock)
                    raise
            time.sleep(0.02)

    def start(
        self,
        command: Sequence[str],
        *,
        log: Path,
        lock: int,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        seconds: float | None = None,
        memory_mb: float | None = None,
    ) -> None:
        """Starts `command` below a guard, in a session of its own, and returns at once.

        The command has no standard input, ignores SIGINT, and is not a descendant of this process. The environment variables
        `TOKEN_VARIABLES` are not passed on.

        Args:
            command: Program and its arguments.
            log: File to which standard output and standard error are appended.
            lock: Descriptor from `take_lock`; the started process inherits a copy, and the caller closes its own.
            cwd: Working folder of the command; None takes that of this process.
            environment: All environment variables of the command; None takes those of this process.
            seconds: Wall-clock time in seconds after which the command is killed; None sets no limit.
            memory_mb: Memory of all its processes together, in megabytes (10^6 bytes), above which it is killed; None sets no
                limit.

        Raises:
            OSError: The program or `cwd` does not exist, `log` or `reason_file` cannot be written, or no process can be
                started. Errors of the guard and of the command are not raised; their messages are in `log`.
        """
        if shutil.which(command[0]) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
        reserve(self.reason_file)
        limits: dict[str, object] = {"seconds": seconds, "memory_mb": memory_mb}
        files = {name: str(getattr(self, name).absolute()) for name in ("group_file", "stop_file", "reason_file")}
        guard = (sys.executable, "-m", GUARD, json.dumps(files | limits))
        given = os.environ if environment is None else environment
        with log.open("ab") as output:
            subprocess.run(
                [*DETACH, str(self.group_file), *guard, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env={name: value for name, value in given.items() if name not in TOKEN_VARIABLES},
                start_new_session=True,
                pass_fds=(lock,),
            )

    def request_stop(self) -> None:
        """Creates `stop_file`, sends SIGTERM to the process if it is alive, and returns at once. Never raises OSError."""
        with suppress(OSError, ValueError):
            self.stop_file.touch()
            pid = int(self.group_file.read_text())
            if not self.is_alive():
                return
            if _is_gone(pid):
                os.killpg(pid, signal.SIGTERM)
            else:
                os.kill(pid, signal.SIGTERM)

    def end_soon(self) -> None:
        """Asks the process to end and returns at once; a thread kills it if it has not ended after `STOP_SECONDS`."""
        self.request_stop()
        # A guard kills a command that does not end; the thread is for a process without a guard, or with a stopped one.
        threading.Thread(target=self.kill_after, args=(STOP_SECONDS,), name="stop", daemon=True).start()

    def kill(self) -> None:
        """Kills the process and all processes that it started; waits at most about twice `KILL_SECONDS` for their end.

        Does nothing if it is not alive, or `group_file` cannot be read. Errors of the system are ignored.
        """
        with suppress(OSError, ValueError):
            pid = int(self.group_file.read_text())
            if not self.is_alive():
                return
            if _is_gone(pid):
                os.killpg(pid, signal.SIGKILL)
                return
            kill_descendants(pid, seconds=KILL_SECONDS)
            # Time for a guard to remove unfinished files, after which it ends by itself.
            if not self.ends_within(CLEAN_SECONDS):
                kill_tree(pid, seconds=KILL_SECONDS)

    def ends_within(self, seconds: float) -> bool:
        """Waits at most `seconds` for the process to end and returns whether it has ended."""
        start = time.monotonic()
        while self.is_alive():
            waited = time.monotonic() - start
            if waited > seconds:
                return False
            time.sleep(min(1.0, 0.05 + waited / 20))
        return True

    def kill_after(self, seconds: float) -> bool:
        """Waits at most `seconds` for the process to end, then kills it with all that it started; returns whether it ended."""
        if self.ends_within(seconds):
            return True
        self.kill()
        return self.ends_within(KILL_SECONDS)


def note_pid(lock: int) -> None:
    """Writes the id of this process into its lock file; a process without a guard calls it, so that it can be stopped.

    Args:
        lock: Descriptor from `BackgroundProcess.take_lock`, of a process whose `group_file` is its `lock_file`.
    """
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def end_of_log(log: Path) -> str:
    """Returns the last 2,000 characters in the log of a process that ended without a result; or why there are none."""
    try:
        text = log.read_text("utf-8", "replace").strip()
    except OSError:
        text = ""
    if not text and is_full(log.parent):
        return f"no space is left on the disk of {log.parent}"
    return text[-2000:] or "the process ended and printed nothing; it may have been killed"


def _is_gone(pid: int) -> bool:
    """Returns whether the process `pid` has ended.

    Other processes of its group may still run; while they do, the kernel does not give the id to another process.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
