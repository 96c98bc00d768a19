"""Starts and watches the server's workers, as BentoML's supervisor does, but without TCP ports and endless restarts.

BentoML 1.4 lets circus start the workers, with two TCP ports on loopback. One of them accepts commands from every local user
without authentication, and shows the environment of the workers with the tokens. Here, both are names within the process.
BentoML also empties a folder in the store for the workers' metrics, and restarts a worker that ends again and again without
limit. `install` replaces both.

Only this module and `supervised_worker` use private names of BentoML and circus for starting; pyproject.toml bounds the version
of BentoML.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import bentoml.serving
from bentoml._internal.utils import circus as bentoml_circus
from circus.watcher import Watcher

from hubserve.host import TWO_ONNX_RUNTIMES, onnx_runtimes
from hubserve.service.settings import ServiceSettings
from hubserve.service.supervised_worker import METRICS_FOLDER, STARTED_FD

log = logging.getLogger("hubserve.service")

CHECK_SECONDS = 1.0
"""Seconds between two checks of the workers."""

START_SECONDS = 300.0
"""Seconds within which a worker must answer after its start."""

MOST_ENDS = 5
"""Number of unexpected ends of workers within `ENDS_SECONDS` that end the server."""

ENDS_SECONDS = 300.0
"""Seconds within which the unexpected ends of workers are counted."""

EXTRA_SECONDS = 20.0
"""Seconds that a worker has to end after its last request must have been answered."""

HINTS = {int(signal.SIGKILL): ", as when memory is exhausted", int(signal.SIGBUS): ", as when a disk is full"}
"""Likely reason of a worker's end, by the number of the signal that killed it."""

LIVE_GAUGES = "gauge_live"
"""Start of the names of metrics files that are only valid as long as their process runs."""


def install() -> None:
    """Makes BentoML's `serve` use `Arbiter`, in this process."""
    bentoml_circus.create_standalone_arbiter = _make_arbiter
    bentoml.serving.ensure_prometheus_dir = _no_folder


class Arbiter(bentoml_circus.Arbiter):  # type: ignore[misc]
    """BentoML's supervisor. It ends with a message and exit code 1 if its workers cannot work.

    Args:
        watchers: The workers to start, as circus describes them.
        options: Further arguments of circus' arbiter.
    """

    def __init__(self, watchers: list[Watcher], **options: Any) -> None:
        super().__init__(watchers, **options)
        self._workers = _Workers()
        self._metrics_folder = _prepare(watchers, self._workers)

    def start(self, cb: Callable[[Any], Any] | None = None) -> None:
        """Serves until SIGTERM or SIGINT. If two distributions of ONNX Runtime overwrite each other, logs a warning first.

        Args:
            cb: Callback for circus.

        Raises:
            SystemExit: No worker could be kept alive; the exit code is 1.
        """
        if "," in (installed := onnx_runtimes()):
            log.warning("%s: %s", installed, TWO_ONNX_RUNTIMES)
        try:
            super().start(cb)
        except RuntimeError:  # circus has no worker left.
            log.error("the server ends: %s", self._workers.reason or "no worker process could be started")
            raise SystemExit(1) from None
        finally:
            self.exit_stack.close()
            if self._metrics_folder is not None:
                shutil.rmtree(self._metrics_folder, ignore_errors=True)

    def stop(self) -> Any:
        """Ends the workers and then the server. If circus is just starting a worker, tries again 0.1 s later."""
        if self._exclusive_running_command is not None:
            return self.loop.call_later(0.1, self.stop)
        return super().stop()

    def manage_watchers(self) -> Any:
        """Kills workers that have not answered in time, and replaces those that have ended. circus calls it repeatedly."""
        for watcher in self.watchers:
            self._workers.kill_late(list(watcher.processes))
        return super().manage_watchers()


class _Workers:
    """Records which workers answer, and how often one has ended unexpectedly.

    Attributes:
        reason: Why the server ends; empty as long as it does not.
        started_fd: File descriptor to which a worker writes its process id once it answers.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._read_fd, self.started_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        os.set_inheritable(self.started_fd, True)
        self._started: set[int] = set()
        self._since: dict[int, float] = {}
        self._ends: deque[float] = deque(maxlen=MOST_ENDS)

    def kill_late(self, pids: list[int]) -> None:
        """Kills those of the workers `pids` that have not answered within `START_SECONDS` after they were first seen here."""
        self._read()
        now = time.monotonic()
        for pid in pids:
            if pid not in self._started and now - self._since.setdefault(pid, now) > START_SECONDS:
                log.error("worker %d did not answer within %g s of its start", pid, START_SECONDS)
                os.kill(pid, signal.SIGKILL)

    def ended(self, pid: int, code: int | None) -> bool:
        """Records the end of a worker, and returns whether the server must end, too. Then it also sets `reason`.

        The server must end if no worker has answered yet, or at the `MOST_ENDS`th end within `ENDS_SECONDS`. A worker that
        SIGTERM ended does not count.

        Args:
            pid: Process id of the worker.
            code: Exit code of the worker; negative for the signal that killed it, None if unknown.
        """
        self._read()
        self._since.pop(pid, None)
        if code == -signal.SIGTERM:  # As it was asked to.
            return False
        how = f"its worker ended {_describe(code)}"
        if not self._started:
            self.reason = f"{how} before it could answer; its messages above say why"
            return True
        log.error("worker %d ended %s", pid, _describe(code))
        self._ends.append(time.monotonic())
        if len(self._ends) == MOST_ENDS and self._ends[-1] - self._ends[0] < ENDS_SECONDS:
            self.reason = f"{how}, the {MOST_ENDS}th within {ENDS_SECONDS:g} s"
            return True
        return False

    def _read(self) -> None:
        """Reads the process ids of the workers that have begun to answer."""
        with suppress(BlockingIOError):
            self._started.update(int(line) for line in os.read(self._read_fd, 65536).split())


def _prepare(watchers: list[Watcher], workers: _Workers) -> str | None:
    """Sets up the workers that circus will start. Returns the folder of their metrics; None if there is one worker."""
    several = sum(watcher.numprocesses for watcher in watchers) > 1
    folder = tempfile.mkdtemp(prefix="hubserve-metrics-") if several else None
    settings = ServiceSettings.from_environment()
    for watcher in watchers:
        for name in (METRICS_FOLDER, METRICS_FOLDER.lower()):
            watcher.env.pop(name, None)
        if folder is not None:
            watcher.env[METRICS_FOLDER] = folder
        watcher.env[STARTED_FD] = str(workers.started_fd)
        watcher.graceful_timeout = settings.drain_seconds + settings.body_seconds + settings.answer_seconds + EXTRA_SECONDS
        watcher.hooks["after_reap"] = _after_reap(workers, folder)
    return folder


def _after_reap(workers: _Workers, folder: str | None) -> Callable[..., bool]:
    """Returns the function that circus calls after a worker has ended.

    It deletes the worker's files of gauges in `folder`, and makes circus end the server if `workers` says that it must end.
    """

    def after_reap(*, watcher: Watcher, arbiter: Arbiter, process_pid: int, exit_code: int | None, **_: Any) -> bool:
        if folder is not None:
            _forget_gauges(folder, {process.pid for process in watcher.processes.values()})
        if not watcher.is_stopping() and workers.ended(process_pid, exit_code):
            # circus ends the other workers, and then itself.
            watcher.respawn, watcher.numprocesses = False, 0
        elif not watcher.respawn:  # In a container another one is started from outside.
            workers.reason = workers.reason or f"its worker ended {_describe(exit_code)}"
        return True

    return after_reap


def _forget_gauges(folder: str, alive: set[int]) -> None:
    """Deletes the metrics files in `folder` that are only valid as long as their process runs, of processes not in `alive`."""
    for name in os.listdir(folder):
        pid = name.rpartition("_")[2].removesuffix(".db")
        if name.startswith(LIVE_GAUGES) and pid.isdecimal() and int(pid) not in alive:
            os.unlink(os.path.join(folder, name))


def _describe(code: int | None) -> str:
    """Returns how a worker ended, as text after "ended", such as "by SIGKILL, as when memory is exhausted"."""
    if code is None or code >= 0:
        return f"with exit code {code}"
    return f"by {signal.Signals(-code).name}{HINTS.get(-code, '')}"


def _make_arbiter(watchers: list[Watcher], *, threaded: bool = False, **options: Any) -> Any:
    """Returns an `Arbiter` without TCP ports. It replaces BentoML's function, which binds some.

    Args:
        watchers: The workers to start.
        threaded: If True, BentoML's own supervisor that runs in a thread is returned instead, also without TCP ports.
        options: Further arguments of circus' arbiter. Its endpoints are replaced.
    """
    name = f"inproc://hubserve-{uuid.uuid4()}"
    if options.get("plugins"):  # They are processes: `bentoml serve --reload`. mkdtemp's folder is open to this user alone.
        name = f"ipc://{tempfile.mkdtemp(prefix='hubserve-control-')}/control"
    options = {"check_delay": CHECK_SECONDS, **options, "endpoint": name, "pubsub_endpoint": f"{name}-events"}
    return bentoml_circus.ThreadedArbiter(watchers, **options) if threaded else Arbiter(watchers, **options)


def _no_folder(*_: Any, **__: Any) -> str:
    """Does nothing. It replaces BentoML's function that empties the metrics folder in the store, which all servers share."""
    return ""
