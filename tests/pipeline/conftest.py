"""A short job that is really run once, and a store and home of one's own for all."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubserve import jobs
from hubserve.jobs import JobStatus, Run
from hubserve.pipeline import run_job
from hubserve.pipeline.plots import draw_all
from tests.pipeline.definitions import SHORT
from tests.stores import store_at


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    with store_at(tmp_path / "bentoml") as home:
        yield home


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> tuple[Run, list[JobStatus], Path]:
    """The run of the short job, all that it reported on the way, and the home of the store that it published to."""
    folder = tmp_path_factory.mktemp("finished")
    reported: list[JobStatus] = []
    with pytest.MonkeyPatch.context() as patch, store_at(folder / "bentoml"):
        patch.setenv("HUBSERVE_HOME", str(folder / "home"))
        run = jobs.create(SHORT)
        with jobs.hold(run):
            run_job(run, on_status=reported.append, draw=draw_all)
    return run, reported, folder / "bentoml"
