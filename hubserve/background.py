"""Processes that outlive the one that starts them: started with a lock, looked up from anywhere, stopped with their group.

Whether such a process is alive is decided by a lock (`flock`) on a file, which it holds from its first moment and which the
kernel releases however it ends. A process id alone would not do: the kernel gives the id of an ended process to another one.
"""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LOCK_SECONDS = 0.4
"""How long to wait for the lock: `is_alive` in another process takes it for a moment."""

KILL_SECONDS = 10.0
"""How long the kernel may take to end a process after SIGKILL."""

DETACH = ("/bin/sh", "-c", 'echo $$ >"$0"; "$@" &')
"""Starts a command that is no descendant of ours: the shell writes its process group's id to the file $0 and ends at once.

A session of its own is not enough: BentoML's supervisor signals all descendants of a worker that is to end.
"""


@dataclass(frozen=True)
class BackgroundProcess:
    """A process known by two files, which may be the same one.

    Attributes:
        lock_file: Locked for as long as the process is alive.
        group_file: Holds the id of its process group, or the process id that it noted itself (`note_pid`).
    """

    lock_file: Path
    group_file: Path

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
    ) -> None:
        """Starts `command` in a session of its own, without input, ignoring SIGINT, and as no descendant of this process.

        Args:
            command: Program and arguments.
            log: File to which its output is appended.
            lock: Descriptor from `take_lock`; the started process gets a copy, and the caller closes its own.
            cwd: Working folder; None is ours.
            environment: All its environment variables; None passes ours.

        Raises:
            OSError: There is no such program, or no process can be started. What the command itself does is not known here.
        """
        if shutil.which(command[0]) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
        with log.open("ab") as output:
            subprocess.run(
                [*DETACH, str(self.group_file), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env=environment,
                start_new_session=True,
                pass_fds=(lock,),
            )

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process; SIGKILL to its whole group. Does nothing where the process is not alive."""
        with suppress(OSError, ValueError):
            pid = int(self.group_file.read_text())
            if not self.is_alive():
                return
            # Before SIGKILL the process itself decides what happens to the processes that it started.
            if _is_gone(pid) or (number == signal.SIGKILL and os.getpgid(pid) == pid):
                os.killpg(pid, number)
            else:
                os.kill(pid, number)

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
        """Waits `seconds` for the process to end, then kills it with its group; whether it has ended."""
        if self.ends_within(seconds):
            return True
        self.send_signal(signal.SIGKILL)
        return self.ends_within(KILL_SECONDS)


def note_pid(lock: int) -> None:
    """Writes this process's id into the locked file, in place of the group id that `BackgroundProcess.start` wrote."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def lead_a_session() -> None:
    """Makes this process the leader of a session, so that it and all that it starts can be killed together."""
    if os.getpgrp() != os.getpid():
        os.setsid()


def _is_gone(pid: int) -> bool:
    """Whether the process `pid` has ended; others of its group may still run, and keep the kernel from reusing the id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
