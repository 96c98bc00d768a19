"""docs/own_code.md: its files are a job that can run, and what it names exists."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from hubserve.jobs import read_job
from hubserve.pipeline import resolve_job
from hubserve.training.evaluator import Trial

PAGE = (Path(__file__).parent.parent / "docs" / "own_code.md").read_text()
FILES = dict(re.findall(r"```\w+\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "mypkg"]:
        del sys.modules[name]


def test_its_job_can_run(folder):
    found = resolve_job(read_job(folder / "job.yaml"), where=folder)
    facts = found.facts()
    assert facts["space"] == "mypkg.spaces:Small with 6 archs"
    assert facts["strategy"] == "mypkg.searching:FromTheEnd"
    scores = found.search_evaluator.evaluate(found.space, found.space.grid_arch(5), Trial(seed=1))
    assert 0.1 < scores["val_acc"] <= 1
