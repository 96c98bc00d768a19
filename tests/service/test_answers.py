"""What answers say: no folder of this machine, no type but their own, one sentence where a model's answer is not finite."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import httpx2
import numpy as np
import pytest

from hubserve import home, store
from hubserve.accuracy import LocalClassifier
from hubserve.errors import BodyTooLargeError, LogitsError
from hubserve.package.onnx_runner import OnnxRunner
from hubserve.service import inference_protocol as protocol
from hubserve.service.engine import Engine
from hubserve.service.inference_answer import write_answer
from hubserve.service.json_bounds import MAX_COMMAS, MAX_LISTS, too_many
from hubserve.service.outgoing_text import printable, without_folders
from tests.images import noise
from tests.stores import service_over, small_package
from tests.waiting import until


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def client(folder):
    with service_over(folder) as url, httpx2.Client(base_url=url, timeout=60) as client:
        unreadable = store.publish(small_package().path, name="unreadable")
        published = store.publish(small_package().path, name="corrupt")
        store.publish(small_package().path)
        (published.path / "model.onnx").write_bytes(b"not a model")
        (unreadable.path / "manifest.json").write_text("{")
        until(lambda: client.post("/classify?model=small", content=noise()).status_code == 200)
        yield client


def test_no_answer_names_a_folder_of_this_machine(client, folder):
    answers = [
        client.post("/classify?model=corrupt", content=noise()),
        client.get("/v2/models/corrupt"),
        client.get("/models/corrupt/card"),
        client.get("/models/corrupt/profile"),
        client.get("/models"),
        client.get("/exports/none"),
        client.get("/search_jobs/none"),
        client.get("/search_jobs/none/plots/x.svg"),
        client.get("/models/unreadable/card"),
    ]
    assert "corrupt" in answers[0].json()["error"]["message"]
    refused = [entry for entry in answers[4].json() if entry["state"] == "refused"]
    assert "model.onnx" in refused[0]["problem"], "what is wrong is still said"
    for answer in answers:
        for place in (folder, folder.resolve(), home.home(), Path.home(), Path.cwd(), Path(store.__file__).parent.parent):
            assert f"{place}/" not in answer.text, answer.request.url


@pytest.mark.parametrize("page", ["card", "profile", "accuracy"])
def test_a_package_that_cannot_be_read(client, page):
    answer = client.get(f"/models/unreadable/{page}")
    assert answer.status_code == 409
    assert answer.json()["error"]["type"] == "ModelRefusedError"
    assert re.search(r"unreadable:\w+ cannot be read: .*manifest\.json", answer.json()["error"]["message"])


def test_folders_have_names(monkeypatch, tmp_path):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "kept"))
    assert without_folders(f"{tmp_path}/kept/exports/1: no such file") == "HUBSERVE_HOME/exports/1: no such file"
    assert without_folders(f"'{np.__file__}'").startswith("'python/numpy/")
    for text in ("POST /classify, GET /exports lists them", "https://example.com/tmp/x", "3/4 of 1/2", "/data/of/the/client"):
        assert without_folders(text) == text


def test_no_browser_takes_an_answer_for_another_type(client):
    paths = ["/", "/page/main.js", "/models", "/v2", "/nowhere", "/page/icon.svg", "/readyz", "/classify"]
    for path in paths:
        assert client.get(path).headers.get_list("x-content-type-options") == ["nosniff"], path
    assert client.post("/classify", content=noise()).headers["x-content-type-options"] == "nosniff"
    assert client.post("/classify", content=b"no image").headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_an_answer_that_is_not_finite_is_one_sentence(client, monkeypatch, caplog, value):
    real, real_with_features = OnnxRunner.__call__, OnnxRunner.with_features

    def broken(self, batch):
        logits = real(self, batch).copy()
        logits[:, 2] = value
        return logits

    def broken_with_features(self, batch):
        return broken(self, batch), real_with_features(self, batch)[1]

    monkeypatch.setattr(OnnxRunner, "__call__", broken)
    monkeypatch.setattr(OnnxRunner, "with_features", broken_with_features)
    size = small_package().manifest.preprocess.input_size
    tensor = {"name": "images", "shape": [1, 3, size, size], "datatype": "FP32", "data": [0.0] * 3 * size * size}
    with caplog.at_level(logging.WARNING):
        ours = client.post("/classify?model=small", content=noise())
        several = client.post("/classify?model=small", files=[("image", noise()), ("image", b"no image")])
        theirs = client.post("/v2/models/small/infer", json={"inputs": [tensor]})
    assert (ours.status_code, theirs.status_code) == (400, 400)
    assert ours.json()["error"]["type"] == "LogitsError"
    sentence = ours.json()["error"]["message"]
    assert "not finite" in sentence
    assert theirs.json() == {"error": sentence}
    assert [result["error"]["type"] for result in several.json()["results"]] == ["LogitsError", "ImageError"]
    assert not caplog.records, "no traceback"
    runner = small_package().runner("onnx", threads=1, device="cpu")
    classifier = LocalClassifier(runner, small_package().manifest.preprocess)
    image = small_package().path / "image.png"
    try:
        image.write_bytes(noise())
        with pytest.raises(LogitsError) as caught:
            classifier([image])
    finally:
        image.unlink()
    assert str(caught.value) == sentence


def test_one_answer_that_is_not_finite_leaves_the_rest_of_its_batch(monkeypatch):
    engine = Engine(small_package(), device="cpu")
    runner = engine._runner

    def broken(batch):
        logits = runner(batch).copy()
        logits[1] = np.nan
        return logits

    monkeypatch.setattr(engine, "_runner", broken)
    answers = engine.answer([engine.prepare(noise(seed=i)) for i in range(3)])
    assert [isinstance(answer, LogitsError) for answer in answers] == [False, True, False]


def test_predictions_of_an_answer_are_bounded(client, monkeypatch):
    monkeypatch.setattr("hubserve.service.routes.classify.MAX_PREDICTIONS", 12)
    files = [("image", noise(seed=i)) for i in range(2)]
    assert len(client.post("/classify?model=small&top_k=6", files=files).json()["results"]) == 2
    answer = client.post("/classify?model=small&top_k=7", files=files)
    assert answer.status_code == 422
    assert "7 classes for each of 2 images are more than 12" in answer.json()["error"]["message"]


def test_a_large_answer_is_the_same(client, monkeypatch):
    files = [("image", noise(seed=i)) for i in range(2)]
    small = client.post("/classify?model=small&top_k=7", files=files).json()["results"]
    monkeypatch.setattr("hubserve.service.routes.classify.LARGE", 1)
    large = client.post("/classify?model=small&top_k=7", files=files).json()["results"]
    assert [result["predictions"] for result in small] == [result["predictions"] for result in large]


def request(**outputs) -> protocol.InferRequest:
    tensor = protocol.RequestInput(name="images", shape=[1], datatype="FP32")
    return protocol.InferRequest(inputs=[tensor], outputs=[protocol.RequestOutput(name="logits", parameters=outputs)])


@pytest.mark.parametrize("parameters", [{}, {"binary_data": True}, {"classification": 1000}])
def test_an_answer_of_the_protocol_is_bounded(parameters):
    logits, labels = np.full((32, 1000), 0.1, np.float32), ["label"] * 1000
    whole = write_answer(request(**parameters), {}, logits, labels, max_bytes=10**7)
    assert write_answer(request(**parameters), {}, logits, labels, max_bytes=len(whole.body)) == whole
    with pytest.raises(BodyTooLargeError, match="longer than the allowed 100,000 bytes"):
        write_answer(request(**parameters), {}, logits, labels, max_bytes=100_000)


def test_a_call_of_the_encoder_has_the_numbers_of_one_image(monkeypatch):
    """The encoder is written in C and stops all other threads while it runs, half a second for 32 such images at once."""
    lengths: list[int] = []

    def dumps(value: object, **options: object) -> str:
        lengths.append(len(value) if isinstance(value, list) else 0)
        return json.dumps(value, **options)

    monkeypatch.setattr("hubserve.service.inference_answer.json", SimpleNamespace(dumps=dumps))
    logits = np.random.default_rng(0).normal(size=(3, 21_841)).astype(np.float32)
    found = write_answer(request(), {"model_name": "large"}, logits, [], max_bytes=20_000_000)
    assert [length for length in lengths if length] == [21_841] * 3
    assert np.float32(json.loads(found.body)["outputs"][0]["data"]).tobytes() == logits.tobytes()


def test_bounds_of_json_leave_room_for_tensors_and_images():
    row = b"[" + b",".join([b"0.123456"] * 224) + b"]"
    image = b"[" + b",".join([b"[" + b",".join([row] * 224) + b"]"] * 3) + b"]"
    assert too_many(b"[" + b",".join([image] * 13) + b"]") is None
    assert too_many(b'{"images": [' + b",".join([b'"' + b"A" * 600_000 + b'"'] * 32) + b"]}") is None
    assert too_many(b"," * (MAX_COMMAS + 1))
    assert too_many(b"[" * MAX_LISTS + b"{")


def test_models_come_in_pages(client):
    tags = [entry["tag"] for entry in client.get("/models").json()]
    assert len(tags) == 3
    first = client.get("/models?limit=1").json()
    second = client.get("/models", params={"limit": 1, "after": first[0]["tag"]}).json()
    third = client.get("/models", params={"limit": 1, "after": second[0]["tag"]}).json()
    assert [entry["tag"] for entry in first + second + third] == tags
    assert client.get("/models", params={"after": tags[-1]}).json() == []
    assert client.get("/models?limit=1001").status_code == 422
    assert client.get("/models?after=none").status_code == 404
    assert client.get("/models/small/card?limit=1").status_code == 422


def test_lines_of_a_log():
    assert printable("/classify") == "/classify"
    assert printable("a\r\n\x1b[2J\x00\x85\u2028é") == "a\\r\\n\\x1b[2J\\x00\\x85\\u2028\\xe9"
    assert len(printable("\n" * 100_000)) == 1000


def test_names_in_host(client):
    for host, status in [
        ("localhost", 200),
        ("a.localhost:80", 200),
        ("127.0.0.1:3000", 200),
        ("[::1]:3000", 200),
        ("10.1.2.3", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("evil.example:localhost", 421),
    ]:
        for path in ("/v2", "/", "/page/main.js", "/models"):
            assert client.get(path, headers={"Host": host}).status_code == status, (host, path)
        assert client.post("/classify", content=noise(), headers={"Host": host}).status_code == status
    message = client.get("/models", headers={"Host": "evil.example"}).json()["error"]["message"]
    assert "HUBSERVE_ALLOWED_HOSTS" in message
    assert "'evil.example'" in message
