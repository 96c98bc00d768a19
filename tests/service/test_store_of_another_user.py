"""A real server of the user nobody over the store of another user: read-only, and partly or wholly closed to it."""

from __future__ import annotations

import subprocess
import time

import httpx2
import pytest

from hubserve import store
from hubserve.store import aliases
from tests.images import noise
from tests.other_user import as_nobody, environment, shared_folder
from tests.service.conftest import free_port, stop
from tests.stores import small_package, store_at
from tests.waiting import until

pytestmark = pytest.mark.slow

WHO = "belongs to user root with mode {}, and this is user nobody; its owner may open it (chmod -R a+rX to read)"


@pytest.fixture(scope="module")
def home():
    """BENTOML_HOME of root, with three versions of which one is closed."""
    with shared_folder() as folder:
        home = folder / "bentoml"
        home.mkdir()
        with store_at(home):
            for name in ("own", "closed", "second"):
                store.publish(small_package().path, name=name, version="v1")
            aliases.set_alias("production", "own:v1")
        for name in ("bentos", "envs"):  # As BentoML makes them.
            (home / name).mkdir()
        (home / "models" / "closed" / "v1").chmod(0o700)
        yield home


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def client(home, request):
    port = free_port()
    config = home.parent / f"workers{request.param}.yaml"
    config.write_text(f"services:\n  hubserve:\n    workers: {request.param}\n")
    variables = environment(home.parent, BENTOML_HOME=home, HUBSERVE_TOKEN="a secret for tests", BENTOML_CONFIG=config)
    log = home.parent / f"server{request.param}.log"
    with log.open("wb") as file:
        command = as_nobody("-m", "hubserve", "serve", "--port", port)
        process = subprocess.Popen(command, env=variables, cwd=home.parent, stdout=file, stderr=subprocess.STDOUT)
    try:
        headers = {"Authorization": "Bearer a secret for tests"}
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, headers=headers) as client:
            until(lambda: process.poll() is not None or is_ready(client), seconds=90)
            assert process.poll() is None, log.read_text()
            yield client
    finally:
        stop(process)


def is_ready(client):
    try:
        return client.get("/readyz").status_code == 200
    except httpx2.TransportError:
        return False


def classified(client, model):
    return client.post("/classify", params={"model": model} if model else {}, files={"image": noise()})


def test_a_store_that_is_read_only_is_served_fully(home, client):
    for model in ("", "own", "second:v1", "production"):
        answer = classified(client, model)
        assert answer.status_code == 200, answer.text
        assert answer.json()["predictions"][0]["label"]
    until(lambda: "loaded" in {row["state"] for row in client.get("/models").json()})
    listed = {row["tag"]: row for row in client.get("/models").json()}
    assert listed["own:v1"]["aliases"] == ["production"]
    assert listed["own:v1"]["classes"] == 7
    assert client.get("/aliases").json()[0]["name"] == "production"
    assert client.get("/models/own:v1/card").status_code == 200
    assert client.get("/models/own:v1/drawing.svg").status_code == 200
    assert client.get("/v2/models/own/ready").status_code == 200
    assert client.get("/search_jobs").json() == []
    assert client.get("/exports").json() == []
    until(lambda: "hubserve_requests_total" in client.get("/metrics").text)
    refused = client.put("/aliases/other", json={"model": "own:v1"})
    assert refused.status_code == 507, refused.text
    assert (
        "hubserve.aliases.json.lock belongs to user root with mode 0644, and this is user nobody"
        in refused.json()["error"]["message"]
    )


def test_a_version_that_is_closed_says_so(client):
    listed = {row["tag"]: row for row in client.get("/models").json()}
    assert WHO.format("0700") in listed["closed:v1"]["problem"]
    for answer in (classified(client, "closed"), client.get("/models/closed:v1/card"), client.get("/models/closed:v1/profile")):
        assert answer.status_code in (409, 500), answer.text
        assert WHO.format("0700") in answer.json()["error"]["message"]


def test_permissions_that_change_while_it_runs(home, client):
    closed = home / "models" / "closed" / "v1"
    closed.chmod(0o755)
    until(lambda: classified(client, "closed").status_code == 200)
    closed.chmod(0o700)
    (home / aliases.FILE).chmod(0o600)
    answer = client.get("/aliases")
    assert answer.status_code == 507, answer.text
    assert WHO.format("0600") in answer.json()["error"]["message"]
    assert classified(client, "production").status_code == 200
    (home / aliases.FILE).chmod(0o644)
    assert client.get("/aliases").status_code == 200
    home.chmod(0o700)
    try:
        time.sleep(2)
        assert {row["tag"] for row in client.get("/models").json()} >= {"own:v1", "second:v1"}
        assert classified(client, "own").status_code == 200
        assert WHO.format("0700") in client.get("/aliases").json()["error"]["message"]
    finally:
        home.chmod(0o755)
