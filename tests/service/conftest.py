"""A real server: BentoML's, in its own process, with a store of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from hubserve.export.model_source import card_source
from hubserve.export.write_package import write_package
from hubserve.hub import load_card

ROOT = Path(__file__).parent.parent.parent


@dataclass
class Server:
    """A running service.

    Attributes:
        url: of it.
        home: BENTOML_HOME of its store.
        log: file with what it printed.
    """

    url: str
    home: Path
    log: Path

    def hubserve(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command line, on this server's store."""
        command = [sys.executable, "-m", "hubserve", *arguments]
        return subprocess.run(command, env=environment(self.home), capture_output=True, text=True, check=True)


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory) -> Iterator[None]:
    """Measurements, drawings and exports of the tests are not the user's."""
    before = os.environ.get("HUBSERVE_HOME")
    os.environ["HUBSERVE_HOME"] = str(tmp_path_factory.mktemp("hubserve"))
    yield
    if before is None:
        del os.environ["HUBSERVE_HOME"]
    else:
        os.environ["HUBSERVE_HOME"] = before


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": str(ROOT)}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture(scope="session")
def lite0(tmp_path_factory) -> Path:
    """The embedded default as a package."""
    folder = tmp_path_factory.mktemp("packages") / "efficientnet-lite0"
    return write_package(card_source(load_card("efficientnet-lite0")), folder).path


def start(
    command: list[str],
    home: Path,
    log: Path,
    url: str,
    cwd: Path = ROOT,
    more: Mapping[str, str] = {},
    probe: str = "readyz",
    seconds: float = 90,
) -> subprocess.Popen[bytes]:
    """The server once it says so at `probe`: "livez" without a model; `more` are variables of its environment."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, env={**environment(home), **more}, stdout=file, stderr=subprocess.STDOUT, cwd=cwd)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if httpx2.get(f"{url}/{probe}").status_code == 200:
                return process
        except httpx2.TransportError:
            pass
        time.sleep(0.2)
    stop(process)
    raise AssertionError(f"the server did not become ready: {log.read_text()}")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory, lite0) -> Iterator[Server]:
    home, port = tmp_path_factory.mktemp("bentoml"), free_port()
    log = home / "server.log"
    url = f"http://127.0.0.1:{port}"
    running = Server(url, home, log)
    running.hubserve("publish", str(lite0))
    process = start([sys.executable, "-m", "hubserve", "serve", "--port", str(port)], home, log, url)
    try:
        yield running
    finally:
        stop(process)
