"""What outlives a server: a search that was started over HTTP, and what the next server knows of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from hubserve import jobs
from tests.service.conftest import free_port, start, stop
from tests.waiting import until

pytestmark = pytest.mark.slow

LONG = {
    "name": "long",
    "space": {"name": "NasBench201", "settings": {"stem_out_channels": 4, "num_modules_per_stack": 1}},
    "data": {"name": "digits"},
    "strategy": {"name": "Random"},
    "recipe": {"epochs": 1},
    "budget": {"trials": 500},
}


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HUBSERVE_TOKEN", "a secret for tests")
    return tmp_path


@contextmanager
def server(home: Path) -> Iterator[httpx2.Client]:
    """A server that is asked to end with SIGTERM."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = start(
        [sys.executable, "-m", "hubserve", "serve", "--port", str(port)], home, home / "server.log", url, probe="livez"
    )
    try:
        with httpx2.Client(base_url=url, headers={"Authorization": "Bearer a secret for tests"}, timeout=30) as client:
            yield client
    finally:
        stop(process)


def test_a_search_goes_on_when_its_server_is_terminated(home):
    with server(home) as client:
        answer = client.post("/search_jobs", json={"definition": LONG})
        assert answer.status_code == 202, answer.text
        place = f"/search_jobs/{answer.json()['id']}"
        until(lambda: client.get(place).json()["trials"] > 0, seconds=90)
    run = jobs.find(answer.json()["id"])
    try:
        assert jobs.is_running(run), run.log_tail()
        before = jobs.read(run).trials
        with server(home) as client:
            until(lambda: client.get(place).json()["trials"] > before, seconds=90)
            assert client.get(place).json()["state"] == "running"
            assert client.delete(place).status_code == 202
            until(lambda: client.get(place).json()["state"] == "stopped", seconds=90)
        # Its process writes the state, and ends shortly after.
        until(lambda: not jobs.is_running(run))
    finally:
        jobs.stop(run, grace_seconds=0)
