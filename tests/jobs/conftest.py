"""A home of one's own, and jobs whose process is a stand-in: what the room promises holds for any process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hubserve import jobs
from hubserve.jobs import Run, process
from tests.jobs.definitions import SMALLEST


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def run(home) -> Run:
    return jobs.create(SMALLEST)


@pytest.fixture
def starts(tmp_path, monkeypatch):
    """Lets `start` run this Python program in place of a search; it finds the folder in `folder`, and the room as `jobs`."""

    def program(body: str) -> None:
        path = tmp_path / "program.py"
        head = "import os, pathlib, signal, subprocess, sys, time\nfrom hubserve import jobs\n"
        path.write_text(f"{head}folder = pathlib.Path(sys.argv[-1])\nrun = jobs.open_run(folder)\n{body}\n")
        monkeypatch.setattr(process, "COMMAND", (sys.executable, str(path)))

    return program
