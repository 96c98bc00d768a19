"""What is on this machine, and what sources answer."""

from __future__ import annotations

import pytest

from hubserve.cards.card import WeightSource
from hubserve.hub.source_check import ask, on_this_machine
from hubserve.hub.weight_sources import fetch
from tests.hub.loopback import file_server


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path))
    for name in ("HUBSERVE_OFFLINE", "HUBSERVE_MIRROR"):
        monkeypatch.delenv(name, raising=False)


def test_answers_and_what_is_here(monkeypatch):
    with file_server() as server:
        server.files["/w.pth"] = b"abc"
        there = WeightSource(url=f"{server.url}/w.pth", trust_on_first_use=True)
        gone = WeightSource(url=f"{server.url}/gone.pth", trust_on_first_use=True)
        assert ask(there) == "HTTP 200 OK, a file of 3 bytes"
        assert ask(gone).startswith("HTTP 404 Not Found, a web page")
        assert not on_this_machine([gone, there])
        fetch(there, progress=False)
        assert on_this_machine([gone, there])
    assert ask(there).startswith("ConnectError")
    monkeypatch.setenv("HUBSERVE_OFFLINE", "1")
    assert ask(there) == "not asked: HUBSERVE_OFFLINE is set"
