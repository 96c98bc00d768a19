"""Servers as processes: started, waited for, measured, and ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil

ROOT = Path(__file__).parent.parent.parent.parent


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        port: on 127.0.0.1.
        process: that was started; others may hang on it.
        log: what it printed.
        home: its BENTOML_HOME.
    """

    port: int
    process: subprocess.Popen[bytes]
    log: Path
    home: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def resident_mb(self) -> float:
        """Memory of the process and all that it started."""
        return sum(process.memory_info().rss for process in self._all()) / 1e6

    def cpu_seconds(self) -> float:
        """CPU time that the process and all that it started have used."""
        return sum(sum(process.cpu_times()[:2]) for process in self._all())

    def hubserve(self, *arguments: str) -> None:
        """The command line, on this server's store."""
        environment = {**os.environ, "BENTOML_HOME": str(self.home)}
        subprocess.run([sys.executable, "-m", "hubserve", *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)

    def _all(self) -> list[psutil.Process]:
        process = psutil.Process(self.process.pid)
        return [process, *process.children(recursive=True)]


class DidNotStart(SystemExit):
    """A server ended, or said nothing, before it was ready; a bench that cannot go on without it ends with what it printed."""


@contextmanager
def running(
    command: Sequence[str], folder: Path, *, port: int, environment: Mapping[str, str] = {}, cwd: Path = ROOT
) -> Iterator[Server]:
    """The server, with a store and a log under `folder`, until the end of the block, or until SIGTERM or SIGHUP."""
    end_by_signals()
    home = folder / "bentoml"
    own = {"BENTOML_HOME": str(home), "HUBSERVE_HOME": str(folder / "hubserve"), "BENTOML_DO_NOT_TRACK": "True"}
    log = folder / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env={**os.environ, **own, **environment}, cwd=cwd, stdout=file, stderr=file, start_new_session=True
        )
    try:
        _wait(port, process, log)
        yield Server(port, process, log, home)
    finally:
        _end(process)


def end_by_signals() -> None:
    """From now on SIGTERM and SIGHUP raise SystemExit in the main thread, as Ctrl-C raises KeyboardInterrupt.

    The servers are sessions of their own, so only the `finally` of their blocks ends them.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _exit)


def _exit(number: int, _: object) -> None:
    for other in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)  # A second one would interrupt the ends of the servers.
    raise SystemExit(128 + number)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kindly first, then all that is left of its group: LitServe's workers stay, and would slow down whoever comes next."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(30)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def hubserve_running(
    package: Path,
    folder: Path,
    *,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] = {},
    root: Path = ROOT,
) -> Iterator[Server]:
    """Our service, with one package published.

    `root` is the checkout whose code runs; another one exports the model itself, since it may not read what this one wrote.
    """
    port = free_port()
    environment = {**environment, "PYTHONPATH": str(root)}
    home = {**os.environ, **environment, "BENTOML_HOME": str(folder / "bentoml")}
    if root != ROOT:
        name, package = package.name, folder / "package"
        options = ("--random-weights", "--format", "onnx", "--out", str(package))
        command = [sys.executable, "-m", "hubserve", "export", name, *options]
        subprocess.run(command, env=home, cwd=root, check=True, stdout=subprocess.DEVNULL)
    publish = [sys.executable, "-m", "hubserve", "publish", str(package), "--version", "v1"]
    subprocess.run(publish, env=home, cwd=root, check=True, stdout=subprocess.DEVNULL)
    command = [sys.executable, "-m", "hubserve", "serve", "--port", str(port), *arguments]
    with running(command, folder, port=port, environment=environment, cwd=root) as server:
        yield server


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        try:
            # LitServe calls it /health; any answer below 500 will do.
            if min(httpx2.get(f"http://127.0.0.1:{port}/{path}").status_code for path in ("readyz", "health")) == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.05)
    raise DidNotStart(f"the server did not start:\n{log.read_text()}")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses at the moment."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
