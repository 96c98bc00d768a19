"""Whatever comes, the right answer or a clear 4xx: never a fault of ours, and no memory that stays."""

from __future__ import annotations

import gc
import itertools
from pathlib import Path

import httpx2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubserve import store
from hubserve.preprocess import decode_image
from hubserve.service.engine import Engine
from tests.images import noise
from tests.service.corpus import FORM, Body, mutants, odd_pictures, wrong_bodies
from tests.stores import service_over, small_package

KINDS = ("application/octet-stream", "application/json", FORM, "image/png", "multipart/form-data; boundary=", "", "a/b; c=d")
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["image", "images"]), inner),
)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with service_over(tmp_path_factory.mktemp("bentoml")) as url, httpx2.Client(base_url=url, timeout=60) as client:
        store.publish(small_package().path, version="v1")
        assert send(client, Body("noise", noise())).status_code == 200
        yield client


def send(client: httpx2.Client, body: Body) -> httpx2.Response:
    return client.post("/classify", content=body.data, headers={"Content-Type": body.kind})


def send_in_form(client: httpx2.Client, body: Body) -> httpx2.Response:
    return client.post("/classify", files={"image": body.data})


def send_two(client: httpx2.Client, body: Body) -> httpx2.Response:
    return client.post("/classify", files=[("image", body.data), ("image", noise())])


def check(answer: httpx2.Response, right: bool | None) -> None:
    assert answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/json"
    if right is not None:
        assert (answer.status_code == 200) is right, answer.text
    if answer.status_code != 200:
        error = answer.json()["error"]
        assert len(error["message"]) > 20
        assert set(error) == {"type", "message"}


@pytest.mark.parametrize("body", odd_pictures(), ids=lambda body: body.name)
def test_odd_pictures_are_classified_rightly(client, body):
    answer = send(client, body)
    check(answer, right=True)
    engine = Engine(small_package(), device="cpu")
    pixels = small_package().manifest.preprocess.reference(decode_image(body.data))
    expected = engine.answer([engine.prepare(pixels)])[0].predictions[0]
    found = {p["index"]: p["probability"] for p in answer.json()["predictions"]}
    assert found[expected.index] == pytest.approx(expected.probability, abs=0.02)


@pytest.mark.parametrize("body", wrong_bodies(), ids=lambda body: body.name)
def test_wrong_bodies_are_refused(client, body):
    check(send(client, body), body.right)


def test_mutants(client):
    for body in itertools.islice(mutants(seed=0), 300):
        check(send(client, body), None)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=2000), kind=st.sampled_from(KINDS))
def test_any_bytes(client, data, kind):
    check(send(client, Body("any", data, kind)), None)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=ANY_JSON)
def test_any_json(client, value):
    check(client.post("/classify", json=value), False)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/classify", r'{"image": "", "\ud800": 1}'),
        ("POST", "/classify", r'{"image": "\udfff"}'),
        ("POST", "/classify", r'{"image": "", "model": "\ud800", "top_k": "\ud800"}'),
        ("POST", "/embed", r'{"images": [""], "\ud800": 1}'),
        ("POST", "/v2/models/small/infer", r'{"inputs": [{"name": "\ud800", "shape": [1], "datatype": "FP32", "data": [1]}]}'),
        ("POST", "/v2/models/small/infer", r'{"inputs": [], "\ud800": 1, "id": "\ud800"}'),
        ("POST", "/v2/repository/index", r'{"ready": "\ud800"}'),
    ],
)
def test_half_of_a_surrogate_pair(client, method, path, body):
    """JSON may have it as an escape; the answer, in UTF-8, cannot quote it as it is."""
    answer = client.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 415, 422), answer.text
    assert answer.json()["error"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(model=st.text(max_size=80), top_k=st.text(max_size=10))
def test_any_query(client, model, top_k):
    answer = client.post("/classify", content=noise(), params={"model": model, "top_k": top_k})
    check(answer, None)


def test_a_refused_request_is_forgotten_at_once(client):
    """Its body and its picture, without waiting for garbage to be collected: that may be thousands of requests later."""
    (body,) = (body for body in wrong_bodies() if body.name == "large webp without its pixels")
    gc.collect()
    gc.disable()
    try:
        before = resident_mb()
        for send_it in (send, send_in_form, send_two):
            for _ in range(3):
                assert send_it(client, body).status_code in (200, 415)
        # Each of the nine would hold the canvas of 48 million pixels.
        assert resident_mb() - before < 192
    finally:
        gc.enable()


def test_memory_stays_flat(client):
    """The service runs in this process."""
    bodies = list(itertools.islice(mutants(seed=1), 200)) + list(wrong_bodies())
    for body in bodies:
        send(client, body)
    before = resident_mb()
    for _ in range(2):
        for body in bodies:
            send(client, body)
    assert resident_mb() < before * 1.05 + 5


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def test_logits_of_every_kind_are_finite():
    engine = Engine(small_package(), device="cpu")
    assert all(np.isfinite(engine.classify(body.data).logits).all() for body in odd_pictures())
