"""Details of HTTP and of the Open Inference Protocol: encodings, nulls, methods, extensions, which image has a fault."""

from __future__ import annotations

import base64
import gzip
import json
import zlib

import httpx2
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from hubserve import store
from hubserve.service.engine import Engine
from tests.images import noise
from tests.stores import service_over, small_package, store_at

TOKEN = "secret-of-the-tests"
CHANGE = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    home = tmp_path_factory.mktemp("bentoml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUBSERVE_TOKEN", TOKEN)
        patch.setenv("HUBSERVE_DEVICE", "cpu")
        with store_at(home):
            store.publish(small_package().path, version="v1")
        with service_over(home) as url:
            yield url


@pytest.fixture(scope="module")
def client(url):
    with httpx2.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def triton_client(url):
    client = triton.InferenceServerClient(url.removeprefix("http://"))
    yield client
    client.close()


@pytest.fixture(scope="module")
def best():
    return Engine(small_package(), device="cpu").classify(noise()).predictions[0].label


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def infer(client, tensor, **more):
    return client.post("/v2/models/small/infer", json={"inputs": [tensor], **more})


def pictures(*images: bytes, **more):
    return {"name": "pictures", "shape": [len(images)], "datatype": "BYTES", "data": [text(image) for image in images], **more}


def raw_deflate(data: bytes) -> bytes:
    packed = zlib.compressobj(wbits=-15)
    return packed.compress(data) + packed.flush()


class TestContentEncoding:
    """Of all routes with a body, since one place reads them."""

    @pytest.mark.parametrize(
        ("name", "pack"),
        [
            ("gzip", gzip.compress),
            ("GZip", gzip.compress),
            ("x-gzip", gzip.compress),
            ("gzip, identity", gzip.compress),
            ("gzip", lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:])),
            ("deflate", zlib.compress),
            ("deflate", raw_deflate),
            ("identity", bytes),
            ("Identity", bytes),
            ("", bytes),
        ],
    )
    def test_read(self, client, best, name, pack):
        headers = {"content-encoding": name}
        answer = client.post("/classify", content=pack(noise()), headers=headers)
        assert answer.json()["predictions"][0]["label"] == best, answer.text
        assert client.post("/embed", content=pack(noise()), headers=headers).status_code == 200
        body = pack(json.dumps({"inputs": [pictures(noise())]}).encode())
        assert client.post("/v2/models/small/infer", content=body, headers=headers).status_code == 200
        alias = pack(json.dumps({"model": "small"}).encode())
        typed = {**headers, **CHANGE, "content-type": "application/json"}
        assert client.put("/aliases/packed", content=alias, headers=typed).status_code == 200

    @pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
    def test_read_of_triton_s_client(self, triton_client, algorithm):
        images = triton.InferInput("images", [1, 3, 32, 32], "FP32")
        images.set_data_from_numpy(np.zeros((1, 3, 32, 32), np.float32), binary_data=True)
        result = triton_client.infer("small", [images], request_compression_algorithm=algorithm)
        assert result.as_numpy("logits").shape == (1, 7)

    @pytest.mark.parametrize("path", ["/classify", "/embed", "/v2/models/small/infer", "/jobs", "/jobs/data?name=x"])
    @pytest.mark.parametrize("name", ["br", "zstd", "gzip, gzip", "\xff"])
    def test_named(self, client, path, name):
        headers = {"content-encoding": name.encode("latin-1"), **CHANGE}
        answer = client.post(path, content=noise(), headers=headers)
        assert answer.status_code == 415
        assert "content-encoding" in answer.text
        # A ZIP is compressed already.
        assert answer.headers["accept-encoding"] == ("identity" if path.startswith("/jobs/data") else "gzip, deflate")

    def test_an_image_that_cannot_be_read_has_no_such_header(self, client):
        answer = client.post("/classify", content=b"no image")
        assert (answer.status_code, answer.headers.get("accept-encoding")) == (415, None)

    @pytest.mark.parametrize(
        ("name", "body"),
        [
            ("gzip", b"no gzip"),
            ("gzip", gzip.compress(b"x" * 1000, mtime=0)[:-20]),
            ("gzip", gzip.compress(b"x", mtime=0) + b"y"),
            ("deflate", zlib.compress(b"x" * 1000)[:-10]),
            ("deflate", zlib.compress(b"x") + b"y"),
            ("gzip", b""),
        ],
    )
    def test_corrupt(self, client, name, body):
        answer = client.post("/classify", content=body, headers={"content-encoding": name})
        assert answer.status_code == 400
        assert "RequestBodyError" in answer.text

    def test_bound_is_that_of_what_it_becomes(self, client):
        packed = gzip.compress(bytes(100_000_000), 1)
        assert len(packed) < 1_000_000
        answer = client.post("/classify", content=packed, headers={"content-encoding": "gzip"})
        assert answer.status_code == 413
        packed = gzip.compress(b" " * 1_000_000)
        answer = client.put("/aliases/x", content=packed, headers={"content-encoding": "gzip", **CHANGE})
        assert answer.status_code == 413


class TestDataUris:
    @pytest.mark.parametrize(
        "head", ["data:image/png;base64,", "DATA:image/png;charset=utf-8;BASE64,", "data:;base64, ", "data:x;base64,%20"]
    )
    def test_read(self, client, best, head):
        for body in ({"image": head + text(noise())}, {"images": [head + text(noise())]}):
            answer = client.post("/classify", json=body).json()
            assert answer.get("results", [answer])[0]["predictions"][0]["label"] == best
        tensor = pictures(noise(), data=[head + text(noise())])
        assert infer(client, tensor).status_code == 200

    @pytest.mark.parametrize("value", ["data:image/png,abc", "data:image/png;base64", "data:", "data:;base64,%%%"])
    def test_refused(self, client, value):
        for answer in (client.post("/classify", json={"image": value}), infer(client, pictures(noise(), data=[value]))):
            assert answer.status_code == 400
            assert "data URI" in answer.text or "base64" in answer.text


class TestParametersInTheBody:
    def form(self, client, path="/classify", **fields):
        return client.post(path, files={"image": ("a.png", noise())}, data=fields)

    @pytest.mark.parametrize("model", ["small", '"small"', "null"])
    def test_in_a_form(self, client, model):
        answer = self.form(client, top_k="2", model=model)
        assert len(answer.json()["predictions"]) == 2

    def test_in_json(self, client):
        body = {"images": [text(noise())], "top_k": 2, "model": "small:v1"}
        assert len(client.post("/classify", json=body).json()["results"][0]["predictions"]) == 2
        assert client.post("/classify", json={**body, "top_k": None}).status_code == 200
        assert client.post("/classify?model=small", json={"image": text(noise()), "top_k": 1}).status_code == 200

    @pytest.mark.parametrize("fields", [{"top_k": "0"}, {"top_k": "x"}, {"model": "nosuch"}, {"top_k": "8"}])
    def test_wrong_ones(self, client, fields):
        assert self.form(client, **fields).status_code in (404, 422)

    def test_given_twice(self, client):
        answer = self.form(client, path="/classify?top_k=1", top_k="2")
        assert answer.status_code == 422
        assert "top_k: given in the query, too" in answer.text

    def test_not_those_of_another_route(self, client):
        assert self.form(client, path="/embed", model="small").status_code == 200
        answer = self.form(client, path="/embed", top_k="2")
        assert (answer.status_code, "top_k: unknown" in answer.text) == (422, True)
        answer = client.post("/embed", json={"image": text(noise()), "top_k": 2})
        assert (answer.status_code, "top_k: unknown" in answer.text) == (422, True)


class TestMethods:
    @pytest.mark.parametrize(
        ("path", "methods"),
        [
            ("/jobs", "GET, HEAD, POST"),
            ("/aliases/x", "DELETE, PUT"),
            ("/jobs/data", "DELETE, GET, HEAD, POST"),
            ("/jobs/x", "DELETE, GET, HEAD"),
            ("/classify", "POST"),
            ("/v2/models/small", "GET, HEAD"),
            ("/", "GET, HEAD"),
        ],
    )
    def test_allow_names_all(self, client, path, methods):
        answer = client.patch(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, methods)

    @pytest.mark.parametrize("path", ["/v2/health/ready", "/v2/health/live", "/v2", "/models", "/v2/models/small/ready", "/"])
    def test_head_is_get_without_a_body(self, client, path):
        answer = client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-type"] == client.get(path).headers["content-type"]

    def test_head_of_what_has_no_get(self, client):
        assert client.head("/classify").status_code == 405
        assert client.head("/nosuch").status_code == 404


class TestOpenInferenceProtocol:
    def test_null_is_as_if_left_out(self, client):
        plain = infer(client, pictures(noise())).json()
        tensor = pictures(noise(), parameters=None)
        assert infer(client, tensor, id=None, parameters=None, outputs=None).json() == plain
        tensor = pictures(noise(), parameters={"binary_data_size": None, "shared_memory_region": None})
        outputs = [{"name": "logits", "parameters": {"classification": None, "binary_data": None}}]
        assert infer(client, tensor, outputs=outputs).json()["outputs"] == plain["outputs"][:1]
        assert infer(client, {**tensor, "data": None}).status_code == 400

    def test_without_outputs_all_that_the_metadata_lists(self, client):
        listed = [output["name"] for output in client.get("/v2/models/small").json()["outputs"]]
        assert [output["name"] for output in infer(client, pictures(noise())).json()["outputs"]] == listed
        assert [output["name"] for output in infer(client, pictures(noise()), outputs=[]).json()["outputs"]] == listed

    def test_the_server_with_a_slash(self, client):
        answer = client.get("/v2/", follow_redirects=False)
        assert (answer.status_code, answer.json()) == (200, client.get("/v2").json())

    @pytest.mark.parametrize("wrong", ["1.5", True, [], {}, None])
    @pytest.mark.parametrize("nested", [False, True])
    def test_elements_that_are_no_numbers(self, client, wrong, nested):
        numbers = [0.5] * (3 * 32 * 32 - 1)
        data = [[[*numbers, wrong]]] if nested else [*numbers, wrong]
        tensor = {"name": "images", "shape": [1, 3, 32, 32], "datatype": "FP32", "data": data}
        answer = infer(client, tensor)
        assert answer.status_code == 400
        assert "no numbers" in answer.json()["error"]
        tensor["data"] = [0] * (3 * 32 * 32)
        assert infer(client, tensor).status_code == 200

    @pytest.mark.parametrize("shape", [[1.0], ["1"], [True], [None], "1", 1])
    def test_shapes_that_are_no_integers(self, client, shape):
        answer = infer(client, pictures(noise(), shape=shape))
        assert answer.status_code == 400
        assert "shape" in answer.json()["error"]

    @pytest.mark.parametrize(
        ("parameters", "outputs"),
        [
            ({"binary_data_size": "12"}, {}),
            ({"binary_data_size": True}, {}),
            ({}, {"binary_data": "yes"}),
            ({}, {"binary_data": 1}),
            ({}, {"classification": True}),
            ({}, {"classification": 1.0}),
            ({}, {"classification": 0}),
            ({"shared_memory_region": "r"}, {}),
            ({}, {"shared_memory_region": "r", "shared_memory_byte_size": 28}),
        ],
    )
    def test_parameters_of_another_type(self, client, parameters, outputs):
        answer = infer(client, pictures(noise(), parameters=parameters), outputs=[{"name": "logits", "parameters": outputs}])
        assert answer.status_code == 400
        assert any(name in answer.text for name in (*parameters, *outputs, "shared memory"))

    def test_shared_memory_of_triton_s_client(self, triton_client):
        given = triton.InferInput("pictures", [1], "BYTES")
        given.set_data_from_numpy(np.array([noise()], dtype=object))
        wanted = triton.InferRequestedOutput("logits")
        wanted.set_shared_memory("region", 28)
        with pytest.raises(InferenceServerException, match="shared memory"):
            triton_client.infer("small", [given], outputs=[wanted])

    def test_which_image_is_bad(self, client):
        answer = infer(client, pictures(noise(), b"none", noise(), b"none"))
        assert answer.status_code == 415
        assert "element 1 of 'pictures': 4 bytes that are not a readable image" in answer.json()["error"]
        assert "1 more" in answer.json()["error"]
        answer = infer(client, pictures(noise(), noise(), data=[text(noise()), "%%"]))
        assert "element 1 of 'pictures': not base64" in answer.json()["error"]

    def test_both_inputs(self, client):
        tensor = {"name": "images", "shape": [1, 3, 32, 32], "datatype": "FP32", "data": [0] * 3072}
        answer = client.post("/v2/models/small/infer", json={"inputs": [pictures(noise()), tensor]})
        assert "2 inputs; give one" in answer.json()["error"]


class TestExtensions:
    def test_configuration(self, triton_client):
        for version in ("", "v1"):
            found = triton_client.get_model_config("small", version)
            assert found["platform"] == "onnx_onnxv1"
            assert [(entry["name"], entry["optional"]) for entry in found["input"]] == [("images", True), ("pictures", True)]
            assert found["output"][0] == {"name": "logits", "data_type": "TYPE_FP32", "dims": [7]}
        assert "model_configuration" in triton_client.get_server_metadata()["extensions"]

    def test_index(self, client, triton_client):
        assert client.get("/v2/models/small/ready").status_code == 200
        ready = {"name": "small", "version": "v1", "state": "READY", "reason": ""}
        assert triton_client.get_model_repository_index() == [ready]
        assert client.post("/v2/repository/index", json={"ready": True}).json() == [ready]
        assert client.post("/v2/repository/index", json={"ready": "x"}).status_code == 400

    def test_load_wants_the_token(self, client, triton_client):
        with pytest.raises(InferenceServerException, match="token"):
            triton_client.load_model("small")
        triton_client.load_model("small", headers=CHANGE)
        with pytest.raises(InferenceServerException, match="nosuch"):
            triton_client.load_model("nosuch", headers=CHANGE)
        with pytest.raises(InferenceServerException, match="package"):
            triton_client.load_model("small", headers=CHANGE, config="{}")

    @pytest.mark.parametrize(
        ("call", "name"),
        [
            (lambda client: client.get_inference_statistics(), "statistics"),
            (lambda client: client.get_inference_statistics("small"), "statistics"),
            (lambda client: client.get_inference_statistics("small", "v1"), "statistics"),
            (lambda client: client.unload_model("small"), "model_repository"),
            (lambda client: client.get_trace_settings(), "trace"),
            (lambda client: client.update_trace_settings("small", {}), "trace"),
            (lambda client: client.get_log_settings(), "logging"),
            (lambda client: client.get_system_shared_memory_status(), "system_shared_memory"),
            (lambda client: client.get_cuda_shared_memory_status("r"), "cuda_shared_memory"),
            (lambda client: client.register_system_shared_memory("r", "k", 8), "system_shared_memory"),
        ],
    )
    def test_missing_ones_are_named(self, triton_client, call, name):
        with pytest.raises(InferenceServerException, match=f"does not have the extension '{name}'") as caught:
            call(triton_client)
        assert caught.value.status() == "404"
