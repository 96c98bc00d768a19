"""The clients: what the service answers, errors with the status, and requests that are sent again."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import anyio
import numpy as np
import pytest
from PIL import Image

from hubserve import store
from hubserve.client import AsyncClient, Client
from hubserve.errors import ImageError, ServiceError
from hubserve.load_classifier import load
from hubserve.package.package import read_package
from hubserve.service.engine import Engine
from tests.client.refusing_server import Refusal, refusing_server
from tests.images import photo
from tests.service.conftest import free_port
from tests.stores import service_over, small_package

GOLDEN = Path(__file__).parent.parent / "golden" / "package"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with service_over(tmp_path_factory.mktemp("bentoml")) as url:
        store.publish(GOLDEN)
        store.publish(small_package().path)
        yield url


class Both:
    """Calls a client of either kind in the same way, so that each test holds for both."""

    def __init__(self, kind) -> None:
        self.kind = kind

    def classify(self, url: str, *arguments, options=None, **named):
        return self._call("classify", url, arguments, options, named)

    def classify_text(self, url: str, *arguments, options=None, **named):
        return self._call("classify_text", url, arguments, options, named)

    def embed(self, url: str, *arguments, options=None, **named):
        return self._call("embed", url, arguments, options, named)

    def _call(self, method: str, url: str, arguments, options, named):
        if self.kind is Client:
            with Client(url, **(options or {})) as client:
                return getattr(client, method)(*arguments, **named)

        async def ask():
            async with AsyncClient(url, **(options or {})) as client:
                return await getattr(client, method)(*arguments, **named)

        return anyio.run(ask)


@pytest.fixture(params=[Client, AsyncClient], ids=["sync", "async"])
def both(request) -> Both:
    return Both(request.param)


def test_answers_as_the_engine_does(both, url):
    answer = both.classify(f"{url}/", photo("coffee"), 3, model="golden-package")
    expected = Engine(read_package(GOLDEN), device="cpu").classify(photo("coffee"), top_k=3).predictions
    assert [prediction["index"] for prediction in answer["predictions"]] == [prediction.index for prediction in expected]
    assert answer["model"].startswith("golden-package:")
    assert len(both.classify(url, photo("coffee"), model="golden-package")["predictions"]) == 5


def test_all_kinds_of_images_have_the_answer_of_hubserve_load(both, url, tmp_path):
    model = load(GOLDEN)
    path = tmp_path / "cat.jpg"
    path.write_bytes(photo("chelsea"))
    opened = Image.open(path)
    for image in (path, str(path), path.read_bytes(), np.asarray(opened), opened, opened.convert("CMYK"), opened.convert("I")):
        answer = both.classify(url, image, top_k=7, model="golden-package")["predictions"]
        expected = model(image, top_k=7)
        assert [prediction["label"] for prediction in answer] == [prediction.label for prediction in expected]
        for theirs, ours in zip(answer, expected, strict=True):
            assert theirs["probability"] == pytest.approx(ours.probability, abs=1e-5)


def test_features_are_those_of_hubserve_load(both, url, tmp_path):
    path = tmp_path / "cat.jpg"
    path.write_bytes(photo("chelsea"))
    expected = load(small_package().path).features(path).numpy()
    for image in (path, path.read_bytes(), Image.open(path)):
        answer = both.embed(f"{url}/", image, model="small")
        assert set(answer) == {"model", "features"}
        assert answer["model"].startswith("small:")
        np.testing.assert_allclose(answer["features"], expected, atol=1e-4 * expected.std())


def test_a_text_and_several_are_sent_as_json_again_and_again(both):
    one = {"model": "reviews:v1", "predictions": [{"label": "good", "index": 1, "probability": 0.9}], "timing_ms": {}}
    answers = [
        Refusal(503, "0"),
        Refusal(200, body=json.dumps(one).encode()),
        Refusal(200, body=json.dumps({"results": [one, one]}).encode()),
    ]
    with refusing_server(answers) as server:
        assert both.classify_text(server.url, "a “good” film", 1, model="reviews") == one
        assert both.classify_text(server.url, ("a", "b")) == [one, one]
    heads, bodies = zip(*(request.split(b"\r\n\r\n", 1) for request in server.requests), strict=True)
    lines = [head.split(b"\r\n")[0] for head in heads]
    assert lines == [b"POST /classify-text?top_k=1&model=reviews HTTP/1.1"] * 2 + [b"POST /classify-text HTTP/1.1"]
    assert all(b"content-type: application/json" in head.lower() for head in heads)
    assert [json.loads(body) for body in bodies] == [{"text": "a “good” film"}] * 2 + [{"texts": ["a", "b"]}]


@pytest.mark.parametrize(
    ("text", "answer", "says"),
    [
        (
            ["a", ""],
            {"results": [{"predictions": []}, {"error": {"message": "the text is empty"}}]},
            "refuses text 1, .* empty",
        ),
        (["a"], {"results": [5]}, "answers with something else than predictions"),
        (["a"], {"predictions": []}, "answers with something else than results"),
        ("a", {"results": []}, "answers with something else than predictions"),
    ],
)
def test_a_text_that_is_refused_or_another_answer_is_named(both, text, answer, says):
    refusals = [Refusal(200, body=json.dumps(answer).encode())]
    with refusing_server(refusals) as server, pytest.raises(ServiceError, match=says) as refused:
        both.classify_text(server.url, text)
    assert refused.value.status == 200


def test_a_model_of_images_says_where_texts_go(both, url):
    with pytest.raises(ServiceError, match=r"/classify-text answers 422: small:\S+ is no text classifier") as refused:
        both.classify_text(url, "a good film", model="small")
    assert refused.value.status == 422


def test_a_model_without_features_is_refused_with_what_to_do(both, url):
    with pytest.raises(
        ServiceError, match=r"/embed answers 422: the package of \S+ has no features: .*; export it again"
    ) as refused:
        both.embed(url, photo("coffee"), model="golden-package")
    assert refused.value.status == 422


def test_embed_is_sent_again_and_an_answer_of_another_kind_is_named(both):
    with refusing_server([Refusal(503, "0"), Refusal(200, body=b'{"predictions": []}')]) as server:
        with pytest.raises(ServiceError, match="answers with something else than features"):
            both.embed(server.url, b"image", model="m")
        assert [request.split(b"\r\n")[0] for request in server.requests] == [b"POST /embed?model=m HTTP/1.1"] * 2


@pytest.mark.parametrize(
    ("image", "options", "status", "says"),
    [
        (b"text", {}, 415, "not a readable"),
        (photo("coffee"), {"model": "golden"}, 404, r"Did you mean golden-package\?"),
        (photo("coffee"), {"top_k": 100}, 422, "top_k"),
    ],
)
def test_a_refusal_has_its_status(both, url, image, options, status, says):
    with pytest.raises(ServiceError, match=rf"/classify answers {status}: .*{says}") as refused:
        both.classify(url, image, **options)
    assert refused.value.status == status


@pytest.mark.parametrize(
    "image", ["no-such.jpg", np.zeros((2, 2), np.float32), None, Image.open(io.BytesIO(photo("cat")[:9999]))]
)
def test_what_is_no_image_is_not_sent(both, image):
    with pytest.raises(ImageError):
        both.classify("http://127.0.0.1:1", image)


@pytest.mark.parametrize("wrong", ["127.0.0.1:3000", "localhost", "", "ftp://a.b", "http://", "http://a b:x", None])
def test_what_is_no_address(wrong):
    for kind in (Client, AsyncClient):
        with pytest.raises(ServiceError, match=r"is not the address of a service; an address is like 'http://127"):
            kind(wrong)


def test_no_service(both):
    start = time.monotonic()
    with pytest.raises(ServiceError, match=r"/classify does not answer: ConnectError.*\(after 3 attempts\)") as refused:
        both.classify(f"http://127.0.0.1:{free_port()}", b"", options={"retries": 2})
    assert refused.value.status is None
    assert time.monotonic() - start >= 0.75


def test_waits_as_long_as_the_service_asks(both):
    with refusing_server([Refusal(503, "1"), Refusal(429, "0"), Refusal(None)]) as server:
        start = time.monotonic()
        assert both.classify(server.url, b"image", 2, options={"token": "secret"})["model"] == "m:1"
        assert 1.0 <= time.monotonic() - start < 30
    assert [request.split(b"\r\n")[0] for request in server.requests] == [b"POST /classify?top_k=2 HTTP/1.1"] * 4
    assert all(request.endswith(b"image") and b"authorization: bearer secret" in request.lower() for request in server.requests)


@pytest.mark.parametrize(
    ("refusal", "options", "attempts"),
    [
        (Refusal(503, "0"), {"retries": 2}, 3),
        (Refusal(503, "0"), {"retries": 0}, 1),
        (Refusal(503, "120"), {}, 1),
        (Refusal(503, "1"), {"longest_wait_seconds": 0.5}, 1),
        (Refusal(500, "0"), {}, 1),
        (Refusal(404, "0"), {}, 1),
    ],
)
def test_gives_up(both, refusal, options, attempts):
    with refusing_server([refusal] * 9) as server:
        start = time.monotonic()
        with pytest.raises(ServiceError, match=f"answers {refusal.status}: not now") as refused:
            both.classify(server.url, b"image", options=options)
        assert time.monotonic() - start < 20
    assert refused.value.status == refusal.status
    assert len(server.requests) == attempts
    assert (f"after {attempts} attempts" in str(refused.value)) == (attempts > 1)


def test_an_answer_that_is_none_of_ours(both):
    with (
        refusing_server([Refusal(200, body=b"<html>")]) as server,
        pytest.raises(ServiceError, match="answers with something else than predictions: '<html>'"),
    ):
        both.classify(server.url, b"image")


def test_a_timeout_is_not_repeated(both):
    with refusing_server([Refusal(silent=True)] * 3) as server:
        with pytest.raises(ServiceError, match="does not answer: ReadTimeout"):
            both.classify(server.url, b"image", options={"timeout_seconds": 0.2})
        assert len(server.requests) == 1


def test_other_tasks_run_while_a_client_waits():
    async def ask(url: str) -> float:
        async with AsyncClient(url) as client, anyio.create_task_group() as group:
            group.start_soon(client.classify, b"image")
            await anyio.sleep(0.1)
            start = time.monotonic()
            await anyio.sleep(0.1)
            return time.monotonic() - start

    with refusing_server([Refusal(503, "1")]) as server:
        assert anyio.run(ask, server.url) < 0.9


def test_the_connection_is_used_again(url):
    with Client(url) as client:
        for _ in range(3):
            client.classify(photo("coffee"))
        assert len(client._http._transport._pool.connections) == 1
    with pytest.raises(RuntimeError, match="closed"):
        client.classify(photo("coffee"))


def test_imports_errors_only():
    code = "import sys, hubserve.client; print([m for m in sys.modules if m.startswith('hubserve.')])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # What `import hubserve` itself does before anything else: telemetry off, threads within the quota.
    first = {"hubserve.telemetry", "hubserve.cgroup", "hubserve.usable_resources"}
    own = {f"hubserve.client.{name}" for name in ("answers", "client", "image_bytes", "retries")}
    assert set(eval(ran.stdout)) == {"hubserve.client", *own, "hubserve.errors", "hubserve.image_file", *first}


def test_arrays_and_paths_are_sent_without_torch(url, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(photo("chelsea"))
    code = (
        "import sys, numpy, PIL.Image, hubserve.client\n"
        f"client = hubserve.client.Client({url!r})\n"
        "for image in ('cat.jpg', numpy.zeros((9, 9, 3), 'uint8'), PIL.Image.new('RGB', (9, 9))): client.classify(image)\n"
        "assert not {'torch', 'torchvision', 'bentoml', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
