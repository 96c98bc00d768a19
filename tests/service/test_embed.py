"""POST /embed: the features of hubserve.load, by the same rules for requests as /classify."""

from __future__ import annotations

import base64

import httpx2
import numpy as np
import pytest

from hubserve import store
from hubserve.errors import BodyTooLargeError
from hubserve.load_classifier import load
from hubserve.service.engine import Answer, Engine
from hubserve.service.image_responses import images_response
from hubserve.service.routes.embed import _result
from tests.client.test_client import GOLDEN
from tests.images import noise, photo
from tests.stores import service_over, small_package, store_at, tiny_package

READ_TOKEN = "another-secret"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    home = tmp_path_factory.mktemp("bentoml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUBSERVE_READ_TOKEN", READ_TOKEN)
        patch.setenv("HUBSERVE_MAX_IMAGES", "4")
        patch.setenv("HUBSERVE_MAX_BODY_MB", "1")
        with store_at(home):
            store.publish(GOLDEN)
            store.publish(small_package().path, version="v1")
        with service_over(home) as url:
            yield url


@pytest.fixture(scope="module")
def client(url):
    with httpx2.Client(base_url=url, timeout=60, headers={"Authorization": f"Bearer {READ_TOKEN}"}) as client:
        yield client


def expected(*images: bytes) -> np.ndarray:
    return load(small_package().path).features(list(images)).numpy()


def close(found, wanted) -> None:
    np.testing.assert_allclose(found, wanted, atol=1e-4 * wanted.std())


def test_one_image_in_each_kind_of_body(client):
    text = base64.b64encode(noise()).decode()
    for answer in (
        client.post("/embed?model=small", content=noise()),
        client.post("/embed?model=small", files={"image": noise()}),
        client.post("/embed?model=small:v1", json={"image": text}),
    ):
        assert answer.status_code == 200, answer.text
        assert set(answer.json()) == {"model", "features"}
        assert answer.json()["model"] == "small:v1"
        close(answer.json()["features"], expected(noise())[0])


def test_several_images_are_a_list_with_the_errors_of_single_ones(client):
    files = [("image", image) for image in (noise(), b"no image", photo("coffee"))]
    results = client.post("/embed?model=small", files=files).json()["results"]
    assert results[1]["error"]["type"] == "ImageError"
    wanted = expected(noise(), photo("coffee"))
    close([results[0]["features"], results[2]["features"]], wanted)


@pytest.mark.parametrize(
    ("query", "body", "status", "kind", "says"),
    [
        ("?model=golden-package", noise(), 422, "NoFeaturesError", "has no features: it was exported by an earlier hubserve"),
        ("?model=small", b"no image", 415, "ImageError", "not a readable image"),
        ("?model=small", b"", 400, "RequestBodyError", "the request has no image"),
        ("?model=smal", noise(), 404, "ModelNotFoundError", "Did you mean small?"),
        ("?model=small&top_k=3", noise(), 422, "ParameterError", "top_k"),
        ("?model=small", b"x" * 1_000_001, 413, "ImageTooLargeError", "longer than the allowed"),
    ],
)
def test_refusals_are_those_of_classify(client, query, body, status, kind, says):
    answer = client.post(f"/embed{query}", content=body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind), answer.text
    assert says in answer.json()["error"]["message"]


def test_more_images_than_one_request_may_have(client):
    answer = client.post("/embed?model=small", files=[("image", noise())] * 5)
    assert answer.status_code == 400
    assert "at most 4" in answer.json()["error"]["message"]


def test_the_answer_is_bounded_as_that_of_the_protocol():
    """Features may be wide: four images of 40,000 numbers are more than the 1 MB that a body and an answer may have."""

    def response(count: int, width: int):
        outcomes = [("wide:v1", Answer((), 0.0, 0.0, 1, np.zeros(2), np.full(width, 0.1, np.float32)))] * count
        return images_response(outcomes, count > 1, _result, max_bytes=1_000_000)

    assert len(response(1, 40_000).body) < 1_000_000
    for count, width in ((4, 40_000), (1, 160_000)):
        with pytest.raises(BodyTooLargeError, match="longer than the allowed 1,000,000 bytes: send fewer images"):
            response(count, width)


def test_a_request_whose_answer_is_too_long_is_refused(client, monkeypatch):
    wide = "hubserve.service.routes.embed._result"
    monkeypatch.setattr(wide, lambda tag, answer: {"model": tag, "features": [0.5] * 100_000})
    assert client.post("/embed?model=small", files=[("image", noise())] * 2).status_code == 200
    answer = client.post("/embed?model=small", files=[("image", noise())] * 3)
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "BodyTooLargeError")


def test_needs_the_token_that_classify_needs_and_no_more(url):
    assert httpx2.post(f"{url}/embed?model=small", content=noise()).status_code == 401
    assert httpx2.get(f"{url}/embed", headers={"Authorization": f"Bearer {READ_TOKEN}"}).status_code == 405


def test_a_format_without_features_says_which_has_them():
    engine = Engine(small_package(), backend="torchscript", device="cpu")
    with pytest.raises(Exception, match="torchscript gives no features of small; run the format onnx instead"):
        engine.prepare(noise(), features=True)
    assert len(engine.classify(noise()).predictions) == 5
    with pytest.raises(Exception, match="the package of tiny has no features"):
        Engine(tiny_package(), backend="torchscript", device="cpu").check_features()


def test_a_batch_may_mix_images_with_and_without():
    engine = Engine(small_package(), device="cpu")
    with_features, without = engine.answer([engine.prepare(noise(), features=True), engine.prepare(noise())])
    close(with_features.features, expected(noise())[0])
    assert without.features is None
    np.testing.assert_array_equal(with_features.logits, without.logits)
