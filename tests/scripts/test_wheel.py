"""A built wheel, installed outside the repository: its jobs, its data files and its server are all there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
from pathlib import Path

import pytest

from tests.images import photo
from tests.service.conftest import free_port

ROOT = Path(__file__).parent.parent.parent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.xdist_group("wheel")]


class Installation:
    """An environment of its own with the wheel; its dependencies are those of the tests' environment, without hubserve."""

    def __init__(self, folder: Path) -> None:
        self.work = folder / "work"
        self.work.mkdir()
        self._bin = folder / "venv" / "bin"
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("HUBSERVE", "PYTHON", "BENTOML"))
        } | {
            "HUBSERVE_HOME": str(folder / "home"),
            "BENTOML_HOME": str(folder / "bentoml"),
            "PATH": f"{self._bin}:{os.environ['PATH']}",
        }
        venv.create(folder / "venv", with_pip=False)
        pip = [sys.executable, "-m", "pip", "-q"]
        subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, ROOT], env=self.environment, check=True)
        (wheel,) = folder.glob("hubserve-*.whl")
        into = [*pip, "--python", str(self._bin / "python"), "install", "--no-deps", str(wheel)]
        subprocess.run(into, env=self.environment, check=True)
        (packages,) = (folder / "venv").glob("lib/*/site-packages")
        # Files named *.pth in that folder are not read, so the editable installation of hubserve does not count.
        (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def hubserve(self, *arguments: str) -> str:
        """Stdout of a command that succeeds."""
        ended = subprocess.run(
            [str(self._bin / "hubserve"), *arguments],
            cwd=self.work,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def serve(self, port: int) -> subprocess.Popen[bytes]:
        with (self.work / "server.log").open("wb") as log:
            command = [str(self._bin / "hubserve"), "serve", "--port", str(port)]
            return subprocess.Popen(command, cwd=self.work, env=self.environment, stdout=log, stderr=log)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Installation:
    return Installation(tmp_path_factory.mktemp("wheel"))


def test_it_is_the_wheel_that_runs(installed):
    code = "import hubserve, pathlib; print(pathlib.Path(hubserve.__file__).parent)"
    python = installed.environment["PATH"].split(":")[0] + "/python"
    found = subprocess.run([python, "-c", code], cwd=installed.work, env=installed.environment, capture_output=True, text=True)
    assert ROOT not in Path(found.stdout.strip()).parents
    assert (Path(found.stdout.strip()) / "py.typed").is_file()


def test_doctor_finds_no_problem(installed):
    found = json.loads(installed.hubserve("doctor", "--json"))
    assert {row["name"] for row in found} >= {"torch", "store", "home", "devices"}


def test_the_shipped_jobs_are_listed(installed):
    jobs = {job["name"] for job in json.loads(installed.hubserve("search", "--json"))}
    assert jobs == {path.stem for path in (ROOT / "search_jobs").glob("*.yaml")}


def test_search_publish_and_serve(installed):
    installed.hubserve("search", "digits_quickstart")
    installed.hubserve("publish", "efficientnet-lite0")
    port = free_port()
    server = installed.serve(port)
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while not _answers(f"{address}/readyz"):
            assert server.poll() is None, (installed.work / "server.log").read_text()
            assert time.monotonic() < deadline, (installed.work / "server.log").read_text()
            time.sleep(0.5)
        request = urllib.request.Request(f"{address}/classify?model=efficientnet-lite0&top_k=1", data=photo("chelsea"))
        answer = json.load(urllib.request.urlopen(request, timeout=60))
        assert "cat" in answer["predictions"][0]["label"]
        models = json.load(urllib.request.urlopen(f"{address}/models", timeout=60))
        assert {model["tag"].split(":")[0] for model in models} == {"digits", "efficientnet-lite0"}
    finally:
        server.terminate()
        server.wait(30)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
