"""A space of one's own from a module in the working folder, by the real command line: from the search to the drawing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import hubserve
from tests.own_modules import JOB, write_package

pytestmark = pytest.mark.slow


class Shell:
    """Runs the command line in processes of their own, which do not have the working folder on sys.path."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.env = {
            **os.environ,
            "PYTHONPATH": str(Path(hubserve.__file__).parent.parent),
            "HUBSERVE_HOME": str(self.home),
            "BENTOML_HOME": str(folder / "bentoml"),
        }

    def __call__(self, *arguments: object, cwd: Path, code: int = 0, **env: str) -> str:
        command = [sys.executable, "-P", "-m", "hubserve", *map(str, arguments)]
        done = subprocess.run(command, cwd=cwd, env=self.env | env, capture_output=True, text=True, check=False)
        assert done.returncode == code, (arguments, done.stdout[-500:], done.stderr[-2000:])
        return done.stderr if code else done.stdout


@pytest.fixture(scope="module")
def shell(tmp_path_factory) -> Shell:
    return Shell(tmp_path_factory.mktemp("shell"))


@pytest.fixture(scope="module")
def work(shell, tmp_path_factory) -> Path:
    """The folder with the module, in which a search was run that published the model `own`."""
    folder = write_package(tmp_path_factory.mktemp("work"))
    (folder / "job.yaml").write_text(JOB)
    assert json.loads(shell("search", "job.yaml", "--json", cwd=folder))["published"].startswith("own:")
    return folder


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    return tmp_path


@pytest.mark.long
def test_what_was_published_is_exported_published_measured_and_drawn(shell, work):
    manifest = json.loads(shell("export", "own", "--out", "again", "--format", "onnx", "--json", cwd=work))["manifest"]
    assert manifest["space"] == manifest["space_source"]["import_path"] == "mypkg.spaces:Small"
    assert manifest["settings"] == {"num_labels": 10}
    assert shell("publish", "again", "--name", "twice", cwd=work).startswith("twice:")
    shell("draw", "own", "--out", "own.svg", cwd=work)
    assert "<svg" in (work / "own.svg").read_text()
    table = ("--space", "mypkg.spaces:Small", "--input-size", 16)
    plan = ("--archs", 4, "--fit-nets", 2, "--check-nets", 3)
    assert json.loads(shell("latency-table", "build", *table, *plan, "--json", cwd=work))["networks"] == 3
    report = json.loads(shell("profile", "own", "--latency-only", "--seconds", 0.3, "--json", cwd=work))
    assert {row["format"] for row in report["formats"]} == {"eager", "onnx"}


@pytest.mark.long
def test_from_another_folder(shell, work, elsewhere):
    message = "there is no module 'mypkg.spaces'"
    assert message in shell("export", "own", "--out", "again", cwd=elsewhere, code=2)
    assert message in shell("draw", "own", cwd=elsewhere, code=2)
    assert "no module 'mypkg'" in shell("search", work / "job.yaml", cwd=elsewhere, code=2)
    report = json.loads(shell("profile", "own", "--latency-only", "--seconds", 0.3, "--json", cwd=elsewhere))
    assert message in report["left_out"]["eager"]
    assert not any(elsewhere.iterdir())


def test_somebody_else_s_package_is_not_imported(shell, work, elsewhere):
    """The module has a side effect, which shows whether it was imported."""
    copy = elsewhere / "received"
    shutil.copytree(shell_package(shell), copy)
    write_package(elsewhere)
    with (elsewhere / "mypkg" / "spaces.py").open("a") as file:
        file.write("\nopen('imported', 'w').close()\n")
    for command in (("export", copy, "--out", "again", "--format", "onnx"), ("draw", copy, "--out", "own.svg")):
        assert "was not written here by this user" in shell(*command, cwd=elsewhere, code=2)
    shell("profile", copy, "--latency-only", "--seconds", 0.3, cwd=elsewhere)
    assert not (elsewhere / "imported").exists()
    shell("draw", copy, "--trust", "--out", "own.svg", cwd=elsewhere)
    assert (elsewhere / "imported").exists()


def shell_package(shell: Shell) -> Path:
    """The folder of the model `own` in the store."""
    return next(Path(shell.env["BENTOML_HOME"]).glob("models/own/*/manifest.json")).parent


def test_a_detached_job_is_resumed_from_another_folder(shell, work, elsewhere):
    """Its worker processes find the module of the folder in which it was submitted, too."""
    (work / "long.yaml").write_text(
        JOB.replace("name: own", "name: long").replace("trials: 1", "trials: 3") + "executor: {kind: processes, workers: 1}\n"
    )
    run = shell("search", "long.yaml", "--detach", cwd=work).strip()
    shell("jobs", run, "--stop", cwd=elsewhere)
    shell("jobs", run, "--resume", cwd=elsewhere)
    end = time.monotonic() + 300
    while (status := json.loads(shell("jobs", run, "--json", cwd=elsewhere)))["state"] in ("queued", "running"):
        assert time.monotonic() < end, status
        time.sleep(2)
    assert status["state"] == "done", status
    assert status["trials"] == 3
