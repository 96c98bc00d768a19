"""The client: what the service answers, and errors with the status."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hubserve import store
from hubserve.client import Client
from hubserve.errors import ServiceError
from hubserve.service.engine import Engine
from tests.images import photo
from tests.service.conftest import free_port
from tests.stores import service_over, small_package


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with service_over(tmp_path_factory.mktemp("bentoml")) as url:
        store.publish(small_package().path)
        with Client(f"{url}/") as client:
            yield client


def test_answers_as_the_engine_does(client):
    answer = client.classify(photo("coffee"), 3)
    expected = Engine(small_package(), device="cpu").classify(photo("coffee"), top_k=3).predictions
    assert [prediction["index"] for prediction in answer["predictions"]] == [prediction.index for prediction in expected]
    assert answer["model"].startswith("small:")
    assert len(client.classify(photo("coffee"), model="small")["predictions"]) == 5


@pytest.mark.parametrize(
    ("image", "options", "status", "says"),
    [
        (b"text", {}, 415, "not a readable"),
        (photo("coffee"), {"model": "smal"}, 404, r"Did you mean small\?"),
        (photo("coffee"), {"top_k": 100}, 422, "top_k"),
    ],
)
def test_a_refusal_has_its_status(client, image, options, status, says):
    with pytest.raises(ServiceError, match=rf"/classify answers {status}: .*{says}") as refused:
        client.classify(image, **options)
    assert refused.value.status == status


def test_no_service(client):
    with pytest.raises(ServiceError, match=r"/classify does not answer: ConnectError") as refused:
        Client(f"http://127.0.0.1:{free_port()}").classify(b"")
    assert refused.value.status is None


def test_imports_errors_only():
    code = "import sys, hubserve.client; print([m for m in sys.modules if m.startswith('hubserve.')])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # What `import hubserve` itself does before anything else: telemetry off, threads within the quota.
    first = {"hubserve.telemetry", "hubserve.cgroup", "hubserve.usable_resources"}
    assert set(eval(ran.stdout)) == {"hubserve.client", "hubserve.client.client", "hubserve.errors", *first}
