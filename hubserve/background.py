"""Processes that outlive the one that starts them: started with a lock, looked up from anywhere, stopped with all they started.

Each runs below a process of `hubserve.process_guard`, which holds it to limits and ends what is left of it. Whether it is
alive is decided by a lock (`flock`) on a file, which it holds from its first moment and which the kernel releases however it
ends. A process id alone would not do: the kernel gives the id of an ended process to another one.
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

from hubserve.process_tree import kill_descendants, kill_tree
from hubserve.reserved_file import reserve

GUARD = "hubserve.process_guard"

TOKEN_VARIABLES = ("HUBSERVE_TOKEN", "HUBSERVE_READ_TOKEN")
"""Environment variables of the service that the processes that it starts do not get."""

LOCK_SECONDS = 0.4
"""How long to wait for the lock: `is_alive` in another process takes it for a moment."""

STOP_SECONDS = 3.0
"""How long a process has to end after `end_soon`; its guard kills what has not ended before that."""

CLEAN_SECONDS = 1.0
"""How long a guard may take to remove unfinished files after all that it started has ended."""

KILL_SECONDS = 10.0
"""How long the kernel may take to end a process after SIGKILL."""

DETACH = ("/bin/sh", "-c", 'echo $$ >"$0"; "$@" &')
"""Starts a command that is no descendant of ours: the shell writes its process group's id to the file $0 and ends at once.

A session of its own is not enough: BentoML's supervisor signals all descendants of a worker that is to end.
"""


@dataclass(frozen=True)
class BackgroundProcess:
    """A process known by files, of which the first two may be the same one.

    Attributes:
        lock_file: Locked for as long as the process, or anything that it started, is alive.
        group_file: Holds the id of its process group, and then the process id of its guard, or its own (`note_pid`).
        stop_file: Exists after a request to stop.
        reason_file: Holds a sentence if the process was ended because it exceeded a limit, or if the disk was full.
    """

    lock_file: Path
    group_file: Path
    stop_file: Path
    reason_file: Path

    def is_alive(self) -> bool:
        """Whether a process holds the lock now."""
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
        """A descriptor that holds the lock until the last copy of it is closed.

        Raises:
            BlockingIOError: Another process is alive.
            OSError: The file cannot be opened.
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
        """Starts `command` in a session of its own, without input, ignoring SIGINT, and as no descendant of this process.

        It gets none of the service's tokens.

        Args:
            command: Program and arguments.
            log: File to which its output is appended.
            lock: Descriptor from `take_lock`; the started process gets a copy, and the caller closes its own.
            cwd: Working folder; None is ours.
            environment: All its environment variables; None passes ours.
            seconds: Wall-clock time after which it is killed; None sets no limit.
            memory_mb: Memory, in megabytes, of all its processes together above which it is killed; None sets no limit.

        Raises:
            OSError: There is no such program, or no process can be started. What the command itself does is not known here.
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
        """Asks the process to end and returns at once. Does nothing where it is not alive."""
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
        """Asks the process to end and returns at once; what has not ended within `STOP_SECONDS` is killed."""
        self.request_stop()
        # Its guard kills what does not end; this is for a process without one, or with one that does not run.
        threading.Thread(target=self.kill_after, args=(STOP_SECONDS,), name="stop", daemon=True).start()

    def kill(self) -> None:
        """Kills the process and all that it started. Does nothing where it is not alive."""
        with suppress(OSError, ValueError):
            pid = int(self.group_file.read_text())
            if not self.is_alive():
                return
            if _is_gone(pid):
                os.killpg(pid, signal.SIGKILL)
                return
            kill_descendants(pid, seconds=KILL_SECONDS)
            # A guard removes unfinished files now, and ends.
            if not self.ends_within(CLEAN_SECONDS):
                kill_tree(pid, seconds=KILL_SECONDS)

    def ends_within(self, seconds: float) -> bool:
        """Waits for the process to end, at most `seconds`; whether it did."""
        start = time.monotonic()
        while self.is_alive():
            waited = time.monotonic() - start
            if waited > seconds:
                return False
            time.sleep(min(1.0, 0.05 + waited / 20))
        return True

    def kill_after(self, seconds: float) -> bool:
        """Waits `seconds` for the process to end, then kills it with all that it started; whether it has ended."""
        if self.ends_within(seconds):
            return True
        self.kill()
        return self.ends_within(KILL_SECONDS)


def note_pid(lock: int) -> None:
    """Writes this process's id into the locked file, for a process that has no guard."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _is_gone(pid: int) -> bool:
    """Whether the process `pid` has ended; others of its group may still run, and keep the kernel from reusing the id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
