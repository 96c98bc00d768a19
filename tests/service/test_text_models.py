"""A text classifier beside an image classifier: /classify-text, and `texts` over the Open Inference Protocol."""

from __future__ import annotations

import gzip
import json
import sys
import threading
from pathlib import Path

import anyio
import httpx2
import numpy as np
import pytest
import schemathesis
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from hypothesis import HealthCheck, settings
from tritonclient.utils import InferenceServerException

from hubserve import store
from hubserve.client import AsyncClient, Client
from hubserve.errors import ServiceError, TextError, TopKError
from hubserve.package.package import Package, read_package
from hubserve.package.text_classifier import read_tokenizer, text_classifier
from hubserve.package.text_tokenizer import LONGEST_TEXT
from hubserve.service.api import build_api
from hubserve.service.awaited_request import AwaitedRequest
from hubserve.service.openapi_document import openapi_document
from hubserve.service.tensor_engine import TensorEngine
from hubserve.service.text_engine import TextEngine
from tests.images import noise
from tests.service.conftest import free_port
from tests.service.test_openapi import CHECKS
from tests.stores import service_over, store_at
from tests.text_models import LABELS, text_package

GOLDEN = Path(__file__).parent.parent / "golden"
READ_TOKEN = "another-secret"
HEADERS = {"Authorization": f"Bearer {READ_TOKEN}"}
JSON = {"content-type": "application/json"}
INFER = "/v2/models/reviews/infer"
SENTENCES = ["A good film", "what a bad, bad movie, with a fine plot and good acting", "bad!"]

schema = schemathesis.openapi.from_dict({**openapi_document(build_api()), "servers": [{"url": "/"}]})
described = schema.include(path="/classify-text")


def golden() -> Package:
    """The text classifier that is served."""
    return read_package(GOLDEN / "text-package")


@pytest.fixture(scope="module")
def ports(tmp_path_factory):
    """Ports of HTTP and gRPC of a service with a text classifier, which is the default, and an image classifier."""
    home, port = tmp_path_factory.mktemp("bentoml"), free_port()
    with pytest.MonkeyPatch.context() as patch:
        settings = {
            "GRPC_PORT": str(port),
            "MODEL": "reviews",
            "THREADS": "1",
            "SESSION_THREADS": "1",
            "MAX_BATCH": "8",
            "MAX_IMAGES": "4",
            "MAX_BODY_MB": "1",
            "READ_TOKEN": READ_TOKEN,
            "PREDICTION_LOG": str(home / "log"),
            "PREDICTION_LOG_IMAGES": "1",
        }
        for name, value in settings.items():
            patch.setenv(f"HUBSERVE_{name}", value)
        with store_at(home):
            store.publish(GOLDEN / "package", name="digits", version="v1")
            store.publish(GOLDEN / "text-package", version="v1")
        with service_over(home) as url:
            yield url.rpartition(":")[2], port, home / "log"


@pytest.fixture(scope="module")
def client(ports):
    with httpx2.Client(base_url=f"http://127.0.0.1:{ports[0]}", timeout=60, headers=HEADERS) as client:
        yield client


def expected_logits(texts: list[str]) -> np.ndarray:
    """Of each text alone, by the package itself."""
    classifier = text_classifier(golden())
    return np.concatenate([classifier.logits([text]) for text in texts])


def expected_probabilities(texts: list[str]) -> np.ndarray:
    likelihood = np.exp(expected_logits(texts))
    return likelihood / likelihood.sum(axis=1, keepdims=True)


def check_answer(answer: dict, text: str) -> None:
    assert answer["model"] == "reviews:v1"
    assert set(answer["timing_ms"]) == {"tokenize", "infer"}
    (wanted,) = expected_probabilities([text])
    assert [one["index"] for one in answer["predictions"]] == np.argsort(-wanted).tolist()
    for one in answer["predictions"]:
        assert one["label"] == LABELS[one["index"]]
        assert one["probability"] == pytest.approx(wanted[one["index"]], abs=1e-5)


class TestClassifyText:
    @pytest.mark.parametrize(
        "body",
        [
            {"json": {"text": SENTENCES[0]}},
            {"json": {"text": SENTENCES[0], "model": "reviews:v1", "top_k": None}},
            {"content": SENTENCES[0]},
            {"content": SENTENCES[0], "headers": {"content-type": "text/plain; charset=utf-8"}},
        ],
    )
    def test_one_text(self, client, body):
        check_answer(client.post("/classify-text", **body).raise_for_status().json(), SENTENCES[0])

    def test_several_texts_are_a_list_with_the_errors_of_single_ones(self, client):
        texts = [SENTENCES[0], " ", SENTENCES[1]]
        results = client.post("/classify-text", json={"texts": texts}).raise_for_status().json()["results"]
        check_answer(results[0], texts[0])
        check_answer(results[2], texts[2])
        assert results[1] == {"error": {"type": "TextError", "message": "the text is empty"}}
        assert len(client.post("/classify-text", json={"texts": SENTENCES[:1]}).json()["results"]) == 1

    def test_top_k_in_the_query_and_in_the_body(self, client):
        for answer in (
            client.post("/classify-text?top_k=1", content=SENTENCES[0]),
            client.post("/classify-text", json={"text": SENTENCES[0], "top_k": 1}),
        ):
            assert len(answer.json()["predictions"]) == 1

    def test_a_body_may_be_compressed(self, client):
        packed = gzip.compress(SENTENCES[0].encode())
        answer = client.post("/classify-text", content=packed, headers={"content-encoding": "gzip"})
        check_answer(answer.raise_for_status().json(), SENTENCES[0])

    @pytest.mark.parametrize(
        ("request_", "status", "kind", "says"),
        [
            ({"content": b""}, 400, "TextError", "the text is empty"),
            ({"content": b" \n\t"}, 400, "TextError", "the text is empty"),
            ({"content": b"caf\xe9"}, 400, "RequestBodyError", "no UTF-8: unexpected end of data at byte 3; send it"),
            ({"content": "a" * (LONGEST_TEXT + 1)}, 400, "TextError", "20,001 characters, and at most 20,000 are allowed"),
            ({"json": {"texts": ["a"] * 5}}, 400, "RequestBodyError", "the request has 5 texts; at most 4 are taken at once"),
            ({"json": {"texts": []}}, 400, "RequestBodyError", "the request has no text: send it as text/plain"),
            ({"json": {}}, 400, "RequestBodyError", "the request has no text"),
            ({"json": {"text": "a", "texts": ["a"]}}, 400, "RequestBodyError", "give one of them"),
            ({"json": {"text": 5}}, 400, "RequestBodyError", 'as application/json: {"text": "..."}'),
            ({"json": {"texts": "a good film"}}, 400, "RequestBodyError", "the JSON cannot be read: texts"),
            ({"json": ["a"]}, 400, "RequestBodyError", "the JSON cannot be read"),
            ({"json": {"text": "a", "txet": "b"}}, 400, "RequestBodyError", "txet"),
            ({"content": b'{"text": "caf\xe9"}', "headers": JSON}, 400, "RequestBodyError", "the JSON cannot be read"),
            ({"content": b'{"text": "\\ud800"}', "headers": JSON}, 400, "RequestBodyError", "the JSON cannot be read"),
            ({"data": {"text": "a good film"}}, 400, "RequestBodyError", "/x-www-form-urlencoded', which is no text"),
            ({"files": {"text": b"a good film"}}, 400, "RequestBodyError", "'multipart/form-data', which is no text"),
            ({"content": b"a", "params": {"top_k": 3}}, 422, "TopKError", "not between 1 and 2"),
            ({"content": b"a", "params": {"top_k": 0}}, 422, "ParameterError", "top_k"),
            ({"content": b"a", "params": {"topk": 1}}, 422, "ParameterError", "Did you mean top_k?"),
            ({"json": {"text": "a", "top_k": 1}, "params": {"top_k": 1}}, 422, "ParameterError", "given in the query, too"),
            ({"json": {"texts": ["a"] * 4, "top_k": 20_000}}, 422, "TopKError", "for each of 4 texts are more than 50,000"),
            ({"content": b"a", "params": {"model": "review"}}, 404, "ModelNotFoundError", "Did you mean reviews?"),
            ({"content": b"a " * 500_001}, 413, "BodyTooLargeError", "longer than the allowed 1,000,000 bytes"),
            ({"content": b"a", "headers": {"content-encoding": "br"}}, 415, "EncodingError", "br"),
        ],
    )
    def test_refusals_say_what_is_allowed(self, client, request_, status, kind, says):
        answer = client.post("/classify-text", **request_)
        error = answer.json()["error"]
        assert answer.status_code == status, answer.text
        assert kind is None or error["type"] == kind
        assert says in error["message"]

    def test_needs_the_token_that_classify_needs(self, client):
        assert client.post("/classify-text", content="a", headers={"Authorization": ""}).status_code == 401
        assert client.get("/classify-text").status_code == 405

    @pytest.mark.parametrize(
        ("path", "model", "says"),
        [
            (
                "/classify-text",
                "digits",
                "digits:v1 is no text classifier: it takes images. Send them to POST /classify, or name a",
            ),
            ("/classify", "reviews", "reviews:v1 is no image classifier: it takes texts. Send them to POST /classify-text, or"),
            ("/embed", "reviews", "reviews:v1 is no image classifier: it takes texts. Send them to POST /classify-text, or"),
        ],
    )
    def test_models_of_other_inputs_say_where_to_go(self, client, path, model, says):
        answer = client.post(path, params={"model": model}, content=noise() if path != "/classify-text" else b"a film")
        assert answer.status_code == 422
        assert answer.json()["error"]["type"] == "OtherInputsError"
        assert says in answer.json()["error"]["message"]

    def test_the_image_classifier_beside_it_answers_as_ever(self, client):
        answer = client.post("/classify?model=digits", content=noise()).raise_for_status().json()
        assert (answer["model"], set(answer["timing_ms"])) == ("digits:v1", {"decode", "infer"})

    def test_a_long_text_is_cut_and_not_refused(self, client):
        long = "good film " * 1500
        found = client.post("/classify-text", content=long).raise_for_status().json()
        check_answer(found, " ".join(long.split()[:40]))

    def test_the_time_limit_is_that_of_other_requests(self, ports, client, monkeypatch):
        go_on = threading.Event()
        prepare = TextEngine.prepare

        def slow(engine, data, **options):
            assert go_on.wait(30)
            return prepare(engine, data, **options)

        short = lambda request, _: AwaitedRequest(request, 0.2)  # noqa: E731
        monkeypatch.setattr("hubserve.service.service_state.AwaitedRequest", short)
        monkeypatch.setattr(TextEngine, "prepare", slow)
        answer = client.post("/classify-text", content="a film")
        go_on.set()
        assert (answer.status_code, answer.json()["error"]["type"]) == (503, "LateAnswerError")
        monkeypatch.undo()
        check_answer(client.post("/classify-text", content=SENTENCES[0]).json(), SENTENCES[0])


def test_requests_at_once_do_not_change_each_other(client):
    """Texts of different lengths are padded and run together; each has the answer that it has alone."""
    texts = [" ".join(["good", "bad", "film", "a", "plot"][number % 5 :] * (1 + number % 4)) for number in range(24)]
    found: dict[int, dict] = {}

    def ask(place: int) -> None:
        found[place] = client.post("/classify-text", json={"text": texts[place]}).json()

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place, text in enumerate(texts):
        check_answer(found[place], text)


def test_the_engine_pads_texts_of_similar_lengths_into_one_batch():
    package = golden()
    engine = TextEngine(TensorEngine(package, device="cpu"), read_tokenizer(package))
    engine.warm_up((1, 2))
    prepared = [engine.prepare(text) for text in ("good", "a good film", "a bad film good", "a film " * 20)]
    lengths = [text.tokens.shape[1] for text in prepared]
    answers = engine.answer(prepared)
    groups = [(length - 1).bit_length() for length in lengths]
    assert len(set(lengths)) > len(set(groups)) > 1
    assert [answer.batch_size for answer in answers] == [groups.count(group) for group in groups]
    for text, answer in zip(prepared, answers, strict=True):
        (alone,) = engine.answer([text])
        np.testing.assert_allclose(answer.logits, alone.logits, atol=1e-5)


@pytest.mark.slow
def test_a_package_that_is_exported_now_answers_as_the_golden_one():
    for package in (text_package("onnx"), golden()):
        engine = TextEngine(TensorEngine(package, device="cpu"), read_tokenizer(package))
        found = [engine.classify(text).logits for text in SENTENCES]
        np.testing.assert_allclose(found, expected_logits(SENTENCES), atol=1e-4)


def test_the_engine_refuses_what_the_routes_refuse():
    package = golden()
    engine = TextEngine(TensorEngine(package, device="cpu"), read_tokenizer(package))
    assert engine.classify("a good film", top_k=1).predictions[0].label in LABELS
    with pytest.raises(TextError, match="empty"):
        engine.classify("")
    with pytest.raises(TopKError, match="between 1 and 2"):
        engine.classify("a", top_k=3)


def body(texts, **more) -> dict:
    return {"inputs": [{"name": "texts", "shape": [len(texts)], "datatype": "BYTES", "data": texts}], **more}


class TestProtocol:
    def test_json_has_logits_and_probabilities(self, client):
        found = client.post(INFER, json=body(SENTENCES, id="a")).raise_for_status().json()
        assert (found["model_name"], found["model_version"], found["id"]) == ("reviews", "v1", "a")
        outputs = {output["name"]: np.reshape(output["data"], output["shape"]) for output in found["outputs"]}
        assert list(outputs) == ["logits", "probabilities"]
        np.testing.assert_allclose(outputs["logits"], expected_logits(SENTENCES), atol=1e-5)
        np.testing.assert_allclose(outputs["probabilities"], expected_probabilities(SENTENCES), atol=1e-5)

    def test_a_version_of_the_model(self, client):
        asked = body(SENTENCES[:1], outputs=[{"name": "logits", "parameters": {"classification": 2}}])
        (output,) = client.post("/v2/models/reviews/versions/v1/infer", json=asked).raise_for_status().json()["outputs"]
        assert (output["datatype"], output["shape"]) == ("BYTES", [1, 2])
        assert {text.rpartition(":")[2] for text in output["data"]} == set(LABELS)

    @pytest.mark.parametrize("binary", [True, False])
    def test_tritons_client_over_http(self, ports, binary):
        with triton_http.InferenceServerClient(f"127.0.0.1:{ports[0]}") as client:
            tensor = triton_http.InferInput("texts", [3], "BYTES")
            tensor.set_data_from_numpy(np.array(SENTENCES, object), binary_data=binary)
            asked = [triton_http.InferRequestedOutput("probabilities", binary_data=binary)]
            found = client.infer("reviews", [tensor], outputs=asked, headers=dict(HEADERS))  # It adds to them.
        assert found.as_numpy("logits") is None
        np.testing.assert_allclose(found.as_numpy("probabilities"), expected_probabilities(SENTENCES), atol=1e-5)

    @pytest.mark.parametrize("raw", [True, False])
    def test_grpc_answers_as_http(self, ports, raw):
        with triton_grpc.InferenceServerClient(f"127.0.0.1:{ports[1]}") as client:
            tensor = triton_grpc.InferInput("texts", [3], "BYTES")
            tensor.set_data_from_numpy(np.array(SENTENCES, object))
            if not raw:
                tensor._get_tensor().contents.bytes_contents.extend(text.encode() for text in SENTENCES)
                tensor._raw_content = None
            found = client.infer("reviews", [tensor], headers={"authorization": HEADERS["Authorization"]})
        np.testing.assert_allclose(found.as_numpy("logits"), expected_logits(SENTENCES), atol=1e-5)
        np.testing.assert_allclose(found.as_numpy("probabilities"), expected_probabilities(SENTENCES), atol=1e-5)

    def test_metadata_and_configuration(self, ports, client):
        found = client.get("/v2/models/reviews").raise_for_status().json()
        assert found["inputs"] == [{"name": "texts", "datatype": "BYTES", "shape": [-1]}]
        assert found["outputs"] == [
            {"name": "logits", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
        ]
        config = client.get("/v2/models/reviews/config").raise_for_status().json()
        assert config["input"] == [
            {"name": "texts", "data_type": "TYPE_STRING", "dims": [], "optional": True},
            {"name": "tokens", "data_type": "TYPE_INT64", "dims": [-1], "optional": True},
        ]
        assert [output["name"] for output in config["output"]] == ["logits", "probabilities"]
        with triton_grpc.InferenceServerClient(f"127.0.0.1:{ports[1]}") as grpc_client:
            described = grpc_client.get_model_metadata("reviews", headers={"authorization": HEADERS["Authorization"]})
        assert [(one.name, one.datatype, list(one.shape)) for one in described.inputs] == [("texts", "BYTES", [-1])]
        assert [one.name for one in described.outputs] == ["logits", "probabilities"]

    def test_token_ids_go_on_to_work(self, ports, client):
        tokens = read_tokenizer(golden()).encode(SENTENCES)
        tensor = {"name": "tokens", "shape": list(tokens.shape), "datatype": "INT64", "data": tokens.tolist()}
        (output,) = client.post(INFER, json={"inputs": [tensor]}).raise_for_status().json()["outputs"]
        assert output["name"] == "logits"
        np.testing.assert_allclose(np.reshape(output["data"], output["shape"]), expected_logits(SENTENCES), atol=1e-5)
        with triton_grpc.InferenceServerClient(f"127.0.0.1:{ports[1]}") as grpc_client:
            given = triton_grpc.InferInput("tokens", list(tokens.shape), "INT64")
            given.set_data_from_numpy(tokens)
            found = grpc_client.infer("reviews", [given], headers={"authorization": HEADERS["Authorization"]})
        np.testing.assert_allclose(found.as_numpy("logits"), expected_logits(SENTENCES), atol=1e-5)

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"name": "text"}, "this model takes tokens of INT64, each of them once, or texts of BYTES (n,) in its place"),
            ({"datatype": "FP32"}, "input 'texts' of FP32; give it as BYTES (n,): texts in UTF-8"),
            ({"shape": [3, 1]}, "shape [3, 1]: 'texts' has one side, the number of texts, which is at least 1"),
            ({"shape": []}, "shape []: 'texts' has one side"),
            ({"shape": [0], "data": []}, "shape [0]"),
            ({"shape": [-3]}, "shape [-3]"),
            ({"shape": [2]}, "shape [2] has 2 elements, and 3 came"),
            ({"shape": [5], "data": ["a"] * 5}, "5 texts; at most 4 are taken at once"),
            ({"shape": [2**40]}, "texts; at most 4 are taken at once"),
            ({"data": ["a", 5, "b"]}, "element 1 of 'texts' is a int; each is a text"),
            ({"data": ["a", None, "b"]}, "element 1 of 'texts' is a NoneType; each is a text"),
            ({"data": ["a", "", "b"]}, "element 1 of 'texts': the text is empty"),
            ({"data": ["a", "b" * (LONGEST_TEXT + 1), ""]}, "at most 20,000 are allowed (and 1 more have errors)"),
            ({"parameters": {"shared_memory_region": "a"}}, "shared memory"),
            ({"parameters": {"binary_data_size": 5}}, "'data' must be left out then"),
        ],
    )
    def test_what_does_not_fit_is_refused_with_400(self, client, change, says):
        asked = body(SENTENCES)
        asked["inputs"][0] |= change
        answer = client.post(INFER, json=asked)
        assert answer.status_code == 400, answer.text
        assert says in answer.json()["error"]

    @pytest.mark.parametrize(
        ("more", "says"),
        [
            ({"outputs": [{"name": "features"}]}, "output 'features': there are 'logits' and 'probabilities'"),
            ({"outputs": [{"name": "logits"}] * 2}, "may each be asked for once"),
            ({"outputs": [{"name": "logits", "parameters": {"classification": 3}}]}, "how many classes, 1 to 2"),
            ({"inputs": body(["a"])["inputs"] * 2}, "2 inputs; beside 'texts' there may be no other"),
        ],
    )
    def test_what_is_asked_for_must_exist(self, client, more, says):
        answer = client.post(INFER, json=body(["a"]) | more)
        assert (answer.status_code, says in answer.json()["error"]) == (400, True), answer.text

    def test_bytes_that_are_no_text(self, ports, client):
        head = body(["a"])
        del head["inputs"][0]["data"]
        for rest, says in (
            (b"\x03\x00\x00\x00a\xff\xfe", "element 0 of 'texts' is no UTF-8: invalid start byte at byte 1"),
            (b"\x09\x00\x00\x00a", "the bytes of 'texts' end within element 0"),
        ):
            head["inputs"][0]["parameters"] = {"binary_data_size": len(rest)}
            text = json.dumps(head).encode()
            answer = client.post(INFER, content=text + rest, headers={"inference-header-content-length": str(len(text))})
            assert (answer.status_code, answer.json()["error"]) == (400, says)
        with triton_grpc.InferenceServerClient(f"127.0.0.1:{ports[1]}") as grpc_client:
            tensor = triton_grpc.InferInput("texts", [1], "BYTES")
            tensor.set_data_from_numpy(np.array([b"\xff"], object))
            with pytest.raises(InferenceServerException, match="is no UTF-8") as refused:
                grpc_client.infer("reviews", [tensor], headers={"authorization": HEADERS["Authorization"]})
        assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"


@described.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_any_request_is_answered_as_the_description_says(case, client):
    """test_any_request.py asks it of a server whose default model takes images, which refuses all texts."""
    case.validate_response(case.call(base_url=str(client.base_url), headers=HEADERS, timeout=60), checks=CHECKS)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_the_clients(ports, kind):
    with_token = {"token": READ_TOKEN}
    url = f"http://127.0.0.1:{ports[0]}/"
    if kind is Client:
        with Client(url, **with_token) as client:
            one, several = client.classify_text(SENTENCES[0], 1), client.classify_text(SENTENCES, model="reviews")
            with pytest.raises(ServiceError, match="/classify-text answers 400: the text is empty") as refused:
                client.classify_text(" ")
    else:

        async def ask():
            async with AsyncClient(url, **with_token) as client:
                with pytest.raises(ServiceError, match="/classify-text answers 400: the text is empty") as refused:
                    await client.classify_text(" ")
                return (
                    await client.classify_text(SENTENCES[0], 1),
                    await client.classify_text(SENTENCES, model="reviews"),
                    refused,
                )

        one, several, refused = anyio.run(ask)
    assert len(one["predictions"]) == 1
    assert refused.value.status == 400
    for answer, text in zip(several, SENTENCES, strict=True):
        check_answer(answer, text)


def test_metrics_count_texts_and_their_errors(client):
    from prometheus_client import REGISTRY

    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, {"model": "reviews:v1", **labels}) or 0.0

    def figures() -> list[float]:
        return [
            value("hubserve_model_requests_total"),
            value("hubserve_model_images_total"),
            value("hubserve_model_errors_total", kind="TextError"),
            value("hubserve_model_confidence_count"),
            value("hubserve_batch_images_sum"),
        ]

    before = figures()
    client.post("/classify-text", json={"texts": ["a film", "", "bad"]}).raise_for_status()
    assert [after - first for first, after in zip(before, figures(), strict=True)] == [1, 2, 1, 2, 2]


def test_the_log_of_predictions_has_labels_and_no_text(ports, client):
    log: Path = ports[2]
    client.post("/classify-text", content="good secret film", headers={"x-request-id": "log-1"}).raise_for_status()
    client.post(INFER, json=body(["bad secret film"]), headers={"x-request-id": "log-2"}).raise_for_status()
    client.post("/classify?model=digits", content=noise(), headers={"x-request-id": "log-3"}).raise_for_status()
    deadline = threading.Event()
    for _ in range(100):
        text = "".join(path.read_text() for path in log.glob("predictions-*.jsonl"))
        if "log-3" in text:
            break
        deadline.wait(0.05)
    lines = {line["request_id"]: line for line in map(json.loads, text.splitlines())}
    for identity in ("log-1", "log-2"):
        assert set(lines[identity]) == {"time", "request_id", "model", "label", "index", "probability"}
        assert lines[identity]["model"] == "reviews:v1"
    assert "image" in lines["log-3"]
    assert "secret" not in text


def test_without_the_library_the_version_is_refused_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    for name in ("GRPC_PORT", "READ_TOKEN", "PREDICTION_LOG"):  # Those of the other service of this module.
        monkeypatch.delenv(f"HUBSERVE_{name}", raising=False)
    for name, value in {"THREADS": "1", "SESSION_THREADS": "1", "MAX_BATCH": "2"}.items():
        monkeypatch.setenv(f"HUBSERVE_{name}", value)
    with store_at(tmp_path):
        store.publish(GOLDEN / "text-package", version="v1")
    with service_over(tmp_path) as url:
        answer = httpx2.post(f"{url}/classify-text", content="a film")
        (row,) = httpx2.get(f"{url}/models").json()
    assert (answer.status_code, answer.json()["error"]["type"]) == (409, "ModelRefusedError")
    assert row["state"] == "refused"
    for says in (answer.json()["error"]["message"], row["problem"]):
        assert "pip install 'hubserve[text]'" in says


def test_the_list_says_what_the_model_takes(client):
    found = {row["tag"]: row for row in client.get("/models").raise_for_status().json()}
    assert [(entry["name"], entry["prepared_by"]) for entry in found["reviews:v1"]["inputs"]] == [("tokens", "text")]
    assert (found["reviews:v1"]["classes"], found["reviews:v1"]["input_size"]) == (2, None)
    assert (found["reviews:v1"]["takes"], found["digits:v1"]["takes"]) == ("texts", "images")
    assert client.get("/models/reviews:v1/card").raise_for_status().json()["takes"] == "texts"
