"""The job of the README, as shipped: searched by the command line beside a running server, which then tells digits apart."""

from __future__ import annotations

import io
import sys

import httpx2
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from hubserve.data.splits import stratified
from tests.service.conftest import Server, free_port, start, stop

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture
def empty_server(tmp_path, monkeypatch):
    """A server whose store has no model yet."""
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    port, log = free_port(), tmp_path / "server.log"
    url = f"http://127.0.0.1:{port}"
    process = start(
        [sys.executable, "-m", "hubserve", "serve", "--port", str(port)], tmp_path / "bentoml", log, url, probe="livez"
    )
    try:
        yield Server(url, tmp_path / "bentoml", log)
    finally:
        stop(process)


def held_out() -> list[tuple[bytes, str]]:
    """The digits that nobody has looked at, a fifth, as PNG files of 8 x 8 grey pixels, each with its class."""
    digits = load_digits()
    *_, test = stratified(digits.target.tolist(), (0.6, 0.2), seed=0)
    found = []
    for place in test:
        file = io.BytesIO()
        Image.fromarray((digits.images[place] * 255 / 16).astype(np.uint8)).save(file, "PNG")
        found.append((file.getvalue(), str(digits.target[place])))
    return found


@pytest.mark.long
def test_the_quickstart_is_served_without_a_restart(empty_server):
    with httpx2.Client(base_url=empty_server.url, timeout=60) as client:
        pictures = held_out()
        assert client.get("/models").json() == []
        assert client.post("/classify", content=pictures[0][0]).status_code in (404, 503)
        empty_server.hubserve("search", "digits_quickstart")
        right = []
        for picture, label in pictures:
            answer = client.post("/classify", params={"model": "digits", "top_k": 1}, content=picture)
            assert answer.status_code == 200, answer.text
            right.append(answer.json()["predictions"][0]["label"] == label)
        assert len(right) == 359
        assert np.mean(right) >= 0.97
        (model,) = client.get("/models").json()
        assert model["tag"].startswith("digits:")
