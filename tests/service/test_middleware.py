"""The first layer: readiness means that a model answers."""

from __future__ import annotations

import httpx2
import pytest
from starlette.responses import PlainTextResponse

from hubserve import store
from hubserve.service.service_state import ServiceState
from tests.stores import service_over, small_package
from tests.waiting import until


def bentoml(api):
    """BentoML's application where it matters here: it is ready as soon as it listens."""

    async def app(scope, receive, send):
        await (PlainTextResponse("ready") if scope["type"] == "http" else api)(scope, receive, send)

    return app


@pytest.fixture
def client(tmp_path):
    with service_over(tmp_path, bentoml) as url, httpx2.Client(base_url=url, timeout=30) as client:
        yield client


def test_a_server_is_ready_once_its_store_has_a_model(client):
    ours, protocol = client.get("/readyz"), client.get("/v2/health/ready")
    assert ours.status_code == protocol.status_code == 503
    assert ours.json()["error"]["type"] == "ModelNotFoundError"
    assert "`hubserve publish efficientnet-lite0` fills it" in ours.json()["error"]["message"]
    assert protocol.json() == {"error": ours.json()["error"]["message"]}
    assert client.get("/livez").text == "ready", "there is no need to start it anew"
    store.publish(small_package().path)
    until(lambda: client.get("/readyz").status_code == 200)
    assert client.get("/readyz").text == "ready"
    assert client.get("/v2/health/ready").json() == {"ready": True}


def test_a_server_that_is_about_to_end_is_not(tmp_path, monkeypatch):
    shared: list[ServiceState] = []
    real = ServiceState.__init__

    def note(self, settings):
        real(self, settings)
        shared.append(self)

    monkeypatch.setattr(ServiceState, "__init__", note)
    with service_over(tmp_path, bentoml) as url:
        store.publish(small_package().path)
        until(lambda: httpx2.get(f"{url}/readyz").status_code == 200)
        shared[0].shutdown.started = True
        ours, protocol = httpx2.get(f"{url}/readyz"), httpx2.get(f"{url}/v2/health/ready")
    assert ours.json()["error"]["type"] == "Draining"
    assert protocol.json() == {"error": ours.json()["error"]["message"]}
    for answer in (ours, protocol):
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["connection"] == "close"
