"""Tokens: who may read, who may change, and what is open to all."""

from __future__ import annotations

import httpx2
import pytest

from hubserve import store
from tests.images import noise
from tests.stores import service_over, small_package, store_at

READ, CHANGE = "a token to read", "a token to change"
READS = (
    *("/models", "/aliases", "/exports", "/jobs", "/jobs/available", "/jobs/data", "/search_jobs", "/search_jobs/data"),
    *("/v2", "/v2/models/small/ready", "/docs.json"),
)
OPEN = ("/v2/health/live", "/v2/health/ready", "/", "/page/api.js", "/docs", "/docs/start.js")
OF_BENTOML = ("/livez", "/readyz", "/healthz")
"""Not there without its server, and still asked for no token."""
WRONG = [
    {},
    {"Authorization": ""},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer nonsense"},
    {"Authorization": f"Basic {READ}"},
    {"Authorization": READ},
    {"Authorization": f"Bearer {READ}x"},
    {"Authorization": f"Bearer {READ[:-1]}"},
    {"Authorization": "Bearer tök".encode()},
]


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    home = tmp_path_factory.mktemp("bentoml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUBSERVE_TOKEN", CHANGE)
        patch.setenv("HUBSERVE_READ_TOKEN", READ)
        patch.setenv("HUBSERVE_DEVICE", "cpu")
        with store_at(home):
            store.publish(small_package().path, name="small")
        with service_over(home) as url, httpx2.Client(base_url=url, timeout=60) as client:
            yield client


@pytest.mark.parametrize("headers", WRONG)
def test_reading_wants_a_token(client, headers):
    for path in READS:
        answer = client.get(path, headers=headers)
        assert answer.status_code == 401, path
        assert isinstance(answer.json()["error"], str if path.startswith("/v2") else dict)
    assert client.post("/classify", content=noise(), headers=headers).status_code == 401


@pytest.mark.parametrize("token", [READ, CHANGE])
def test_both_tokens_read(client, token):
    for path in READS:
        assert client.get(path, headers=bearing(token)).status_code == 200, path
    assert client.post("/classify", content=noise(), headers=bearing(token)).status_code == 200


def test_some_paths_are_open(client):
    for path in OPEN:
        assert client.get(path).status_code == 200, path
    assert {client.get(path).status_code for path in OF_BENTOML} == {404}


def test_the_token_to_read_changes_nothing(client):
    for method, path in (("PUT", "/aliases/live"), ("DELETE", "/aliases/live"), ("POST", "/exports"), ("POST", "/search_jobs")):
        answer = client.request(method, path, json={}, headers=bearing(READ))
        assert answer.status_code == 401, path
        assert "Bearer" in answer.json()["error"]["message"]
    assert client.get("/aliases", headers=bearing(READ)).json() == client.get("/aliases", headers=bearing(CHANGE)).json()


def test_no_answer_repeats_a_token(client):
    answers = [client.get("/models", headers=bearing("nonsense")), client.post("/exports", json={}, headers=bearing(READ))]
    assert all(READ not in answer.text and CHANGE not in answer.text and "nonsense" not in answer.text for answer in answers)
