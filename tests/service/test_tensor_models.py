"""A model of other inputs than images beside an image classifier, over HTTP and gRPC, by Triton's clients and by hand."""

from __future__ import annotations

import json
import struct
import threading

import httpx2
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from hubserve import store
from hubserve.errors import LogitsError, OtherInputsError, TensorError
from hubserve.package.manifest import OutputEntry
from hubserve.service.engine import Engine
from hubserve.service.tensor_engine import TensorAnswer, TensorEngine
from tests.images import noise
from tests.other_inputs import tagger_package
from tests.service.conftest import free_port
from tests.stores import service_over, small_package, store_at

INFER = "/v2/models/tagger/infer"


@pytest.fixture(scope="module")
def ports(tmp_path_factory):
    """Ports of HTTP and gRPC of a service with both kinds of models; the image classifier is the default."""
    home, port = tmp_path_factory.mktemp("bentoml"), free_port()
    with pytest.MonkeyPatch.context() as patch:
        settings = {"GRPC_PORT": str(port), "MODEL": "small", "THREADS": "1", "SESSION_THREADS": "1", "MAX_BATCH": "2"}
        for name, value in settings.items():
            patch.setenv(f"HUBSERVE_{name}", value)
        with store_at(home):
            store.publish(small_package().path, name="small", version="v1")
            store.publish(tagger_package().path, version="v1")
        with service_over(home) as url:
            yield url.rpartition(":")[2], port


@pytest.fixture(scope="module")
def client(ports):
    with httpx2.Client(base_url=f"http://127.0.0.1:{ports[0]}", timeout=60) as client:
        yield client


def inputs(rows: int = 2, length: int = 7) -> tuple[np.ndarray, np.ndarray]:
    ids = np.arange(rows * length, dtype=np.int64).reshape(rows, length) % 39 + 1
    return ids, np.ones_like(ids)


def body(ids: np.ndarray, mask: np.ndarray, **more) -> dict:
    tensors = {"ids": ids, "mask": mask}
    listed = [
        {"name": name, "shape": list(array.shape), "datatype": "INT64", "data": array.tolist()}
        for name, array in tensors.items()
    ]
    return {"inputs": listed, **more}


def expected(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    return tagger_package().tensor_runner("onnx").run(arrays)


@pytest.mark.parametrize(("rows", "length"), [(1, 1), (2, 7), (5, 64)])
def test_json_has_all_outputs(client, rows, length):
    found = client.post(INFER, json=body(*inputs(rows, length), id="a")).raise_for_status().json()
    assert (found["model_name"], found["model_version"], found["id"]) == ("tagger", "v1", "a")
    assert [(output["name"], output["datatype"]) for output in found["outputs"]] == [("scores", "FP32"), ("summary", "FP32")]
    for output, wanted in zip(found["outputs"], expected(*inputs(rows, length)), strict=True):
        assert output["shape"] == list(wanted.shape)
        np.testing.assert_allclose(np.reshape(output["data"], output["shape"]), wanted, atol=1e-5)


@pytest.mark.parametrize("binary", [True, False])
def test_tritons_client_over_http(ports, binary):
    arrays = inputs(3, 11)
    with triton_http.InferenceServerClient(f"127.0.0.1:{ports[0]}") as client:
        tensors = [triton_http.InferInput(name, list(inputs(3, 11)[0].shape), "INT64") for name in ("ids", "mask")]
        for tensor, array in zip(tensors, arrays, strict=True):
            tensor.set_data_from_numpy(array, binary_data=binary)
        asked = [triton_http.InferRequestedOutput("summary", binary_data=binary)]
        found = client.infer("tagger", tensors, outputs=asked)
        assert found.as_numpy("scores") is None
        np.testing.assert_allclose(found.as_numpy("summary"), expected(*arrays)[1], atol=1e-5)


@pytest.mark.parametrize("raw", [True, False])
def test_grpc_answers_as_http(ports, raw):
    arrays = inputs(2, 9)
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{ports[1]}") as client:
        tensors = [triton_grpc.InferInput(name, list(arrays[0].shape), "INT64") for name in ("ids", "mask")]
        for tensor, array in zip(tensors, arrays, strict=True):
            tensor.set_data_from_numpy(array)
            if not raw:
                tensor._get_tensor().contents.int64_contents.extend(array.ravel().tolist())
                tensor._raw_content = None
        found = client.infer("tagger", tensors)
        for name, wanted in zip(("scores", "summary"), expected(*arrays), strict=True):
            np.testing.assert_allclose(found.as_numpy(name), wanted, atol=1e-5)
        described = client.get_model_metadata("tagger")
        assert [(one.name, one.datatype, list(one.shape)) for one in described.inputs] == [
            ("ids", "INT64", [-1, -1]),
            ("mask", "INT64", [-1, -1]),
        ]
        for tensor, array in zip(tensors, (np.full_like(arrays[0], 40), arrays[1]), strict=True):
            tensor._get_tensor().ClearField("contents")
            tensor.set_data_from_numpy(array)
        with pytest.raises(InferenceServerException, match="this model takes integers of at least 0 and at most 39"):
            client.infer("tagger", tensors)


def test_metadata_and_configuration_describe_the_tensors(client):
    found = client.get("/v2/models/tagger").raise_for_status().json()
    assert found["inputs"][1] == {"name": "mask", "datatype": "INT64", "shape": [-1, -1]}
    assert found["outputs"][0] == {"name": "scores", "datatype": "FP32", "shape": [-1, -1, 5]}
    config = client.get("/v2/models/tagger/config").raise_for_status().json()
    assert config["input"][0] == {"name": "ids", "data_type": "TYPE_INT64", "dims": [-1]}


@pytest.mark.parametrize("path", ["/classify", "/embed"])
def test_images_are_refused_with_a_sentence(client, path):
    answer = client.post(path, params={"model": "tagger"}, content=noise(), headers={"content-type": "image/jpeg"})
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["type"] == "OtherInputsError"
    assert "tagger:v1 is no image classifier: it takes ids (int64: batch x length), mask" in error["message"]
    assert "/v2/models/tagger/infer" in error["message"]


def test_texts_are_refused_with_a_sentence(client):
    answer = client.post("/classify-text", params={"model": "tagger"}, content="a film")
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "OtherInputsError")
    message = answer.json()["error"]["message"]
    assert "tagger:v1 is no text classifier: it takes ids (int64: batch x length), mask (int64: batch x length)" in message
    assert "Send tensors to POST /v2/models/tagger/infer, or name a text classifier as `model`" in message


def test_an_image_classifier_beside_it_answers_as_ever(client):
    answer = client.post("/classify", content=noise(), headers={"content-type": "image/jpeg"}).raise_for_status()
    assert answer.json()["model"] == "small:v1"
    image = np.zeros((1, 3, 32, 32), np.float32)
    tensor = {"name": "images", "shape": list(image.shape), "datatype": "FP32", "data": image.ravel().tolist()}
    found = client.post("/v2/models/small/infer", json={"inputs": [tensor]}).raise_for_status().json()
    assert [output["name"] for output in found["outputs"]] == ["logits", "probabilities", "features"]


IDS, MASK = inputs()


def changed(place: int, **more) -> dict:
    found = body(IDS, MASK)
    found["inputs"][place] |= more
    return found


@pytest.mark.parametrize(
    ("request_body", "says"),
    [
        ({"inputs": body(IDS, MASK)["inputs"][:1]}, "'ids'; this model takes ids (int64: batch x length), mask"),
        ({"inputs": body(IDS, MASK)["inputs"] * 2}, "each of them once"),
        (changed(0, name="images"), "input 'images' of INT64; this model takes ids of INT64, mask of INT64"),
        (changed(0, datatype="FP32"), "input 'ids' of FP32"),
        (changed(0, shape=[2, 8]), "shape [2, 8] has 16 elements, and 14 came"),
        (changed(0, shape=[]), "sides are at least 1"),
        (changed(0, shape=[14], data=IDS.ravel().tolist()), "this model takes int64: batch x length"),
        (changed(1, shape=[1, 14]), "axis 'batch' has the length 1, and 2"),
        (changed(0, data=[1.5] * 14), "no INT64: one is a float"),
        (changed(0, data=["1"] * 14), "no INT64: one is a str"),
        (changed(0, data=[True] * 14), "no INT64: one is a bool"),
        (changed(0, data=[2**70] * 14), "no INT64"),
        (changed(0, data=[40] * 14), "holds 40; this model takes integers of at least 0 and at most 39"),
        (changed(0, data=[0] * 14), "a sequence of padding (0) only"),
        (body(*inputs(1, 65)), "axis 'length' has the length 65; this model takes 1 to 64"),
        (body(IDS, MASK, outputs=[{"name": "logits"}]), "output 'logits': there are scores, summary"),
        (body(IDS, MASK, outputs=[{"name": "scores"}] * 2), "may be asked for once"),
        (body(IDS, MASK, outputs=[{"name": "scores", "parameters": {"classification": 1}}]), "no logits of classes"),
        (changed(0, parameters={"shared_memory_region": "a"}), "shared memory"),
    ],
)
def test_what_does_not_fit_is_refused_with_400(client, request_body, says):
    answer = client.post(INFER, json=request_body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]


def test_too_many_rows_are_refused(client):
    answer = client.post(INFER, json=body(*inputs(5000, 1)))
    assert answer.status_code == 400
    assert "5000 rows; at most" in answer.json()["error"]


def test_binary_tensors_must_be_whole(client):
    text = body(IDS, MASK)
    for tensor in text["inputs"]:
        del tensor["data"]
        tensor["parameters"] = {"binary_data_size": 112}
    head = json.dumps(text).encode()
    for rest, status in ((IDS.tobytes() + MASK.tobytes(), 200), (IDS.tobytes(), 400), (bytes(300), 400)):
        answer = client.post(
            INFER,
            content=head + rest,
            headers={"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"},
        )
        assert answer.status_code == status


def test_the_list_says_what_a_model_takes(client):
    found = {row["tag"]: row for row in client.get("/models").raise_for_status().json()}
    assert [entry["name"] for entry in found["tagger:v1"]["inputs"]] == ["ids", "mask"]
    assert found["tagger:v1"]["input_size"] is None
    assert (found["tagger:v1"]["takes"], found["small:v1"]["takes"]) == ("tensors", "images")
    assert found["tagger:v1"]["classes"] == 0
    assert found["small:v1"]["input_size"] == 32
    assert client.get("/models/tagger:v1/card").raise_for_status().json()["preprocess"] is None


def test_requests_at_once_get_their_own_rows(client):
    """Those of one length may be answered in one batch."""
    cases = [inputs(1 + number % 3, 5 + number % 2) for number in range(12)]
    found: dict[int, dict] = {}

    def ask(place: int) -> None:
        ids, mask = cases[place]
        found[place] = httpx2.post(f"{client.base_url}{INFER}", json=body((ids + place) % 39 + 1, mask), timeout=60).json()

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(cases))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place, (ids, mask) in enumerate(cases):
        wanted = expected((ids + place) % 39 + 1, mask)[1]
        output = found[place]["outputs"][1]
        np.testing.assert_allclose(np.reshape(output["data"], output["shape"]), wanted, atol=1e-5)


def test_the_engine_joins_requests_of_one_length():
    engine = TensorEngine(tagger_package(), device="cpu")
    engine.warm_up((1, 2))
    named = [dict(zip(("ids", "mask"), inputs(*size), strict=True)) for size in ((1, 5), (2, 7), (3, 5))]
    answers = engine.answer([engine.prepare(given) for given in named])
    assert [answer.batch_size for answer in answers if isinstance(answer, TensorAnswer)] == [4, 2, 4]
    for given, answer in zip(named, answers, strict=True):
        for output, wanted in zip(answer.outputs, expected(*given.values()), strict=True):
            np.testing.assert_allclose(output, wanted, atol=1e-5)
    with pytest.raises(TensorError):
        engine.prepare({})


def test_a_length_that_depends_on_all_rows_is_answered_alone(monkeypatch):
    engine = TensorEngine(tagger_package(), device="cpu")
    monkeypatch.setattr(engine, "_joins", False)
    prepared = [engine.prepare(dict(zip(("ids", "mask"), inputs(1, 5), strict=True))) for _ in range(2)]
    assert [answer.batch_size for answer in engine.answer(prepared)] == [1, 1]


def test_an_output_that_is_not_finite_is_the_error_of_its_request(monkeypatch):
    engine = TensorEngine(tagger_package(), device="cpu")
    prepared = [engine.prepare(dict(zip(("ids", "mask"), inputs(1, 5), strict=True))) for _ in range(2)]
    run = engine._runner.run

    def spoiled(arrays):
        scores, summary = run(arrays)
        summary[1] = np.nan
        return scores, summary

    monkeypatch.setattr(engine._runner, "run", spoiled)
    good, bad = engine.answer(prepared)
    assert isinstance(good, TensorAnswer)
    assert isinstance(bad, LogitsError)


def test_the_engine_of_images_refuses_it():
    with pytest.raises(OtherInputsError, match="no image classifier"):
        Engine(tagger_package())


def test_elements_of_other_types():
    from hubserve.service.inference_protocol import RequestInput
    from hubserve.service.tensor_protocol import _array

    flags = RequestInput(name="a", shape=[2], datatype="BOOL", data=[True, False])
    assert _array(flags, "bool", None).tolist() == [True, False]
    assert _array(flags.model_copy(update={"data": None}), "bool", b"\x01\x00").tolist() == [True, False]
    with pytest.raises(TensorError, match="0 or 1"):
        _array(flags.model_copy(update={"data": None}), "bool", b"\x02\x00")
    with pytest.raises(TensorError, match="one is a int"):
        _array(flags.model_copy(update={"data": [1, 0]}), "bool", None)
    numbers = RequestInput(name="a", shape=[2], datatype="INT32")
    assert _array(numbers, "int32", struct.pack("<2i", -5, 7)).tolist() == [-5, 7]
    assert OutputEntry(name="a", dtype="int32", shape=("batch",)).dtype == "int32"
