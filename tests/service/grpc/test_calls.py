"""gRPC by Triton's own client, held against HTTP; and the rules of HTTP: token, size, fields, pixels, time, overload."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from importlib.util import find_spec

import grpc
import httpx2
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from hubserve.service.engine import Engine
from hubserve.service.grpc.calls import InferenceCalls
from hubserve.service.grpc.messages import FIELDS, MESSAGES, SERVICE
from tests.images import noise

READ, CHANGE = "reader-of-the-tests", "changer-of-the-tests"


@pytest.fixture(scope="module")
def both(serve_both):
    return serve_both()


@pytest.fixture(scope="module")
def client(both):
    with triton.InferenceServerClient(both.grpc) as client:
        yield client


@pytest.fixture(scope="module")
def strict(serve_both):
    """With tokens and small limits."""
    limits = {"MAX_BODY_MB": "0.2", "MAX_MEGAPIXELS": "0.01", "BODY_SECONDS": "0.5", "ANSWER_SECONDS": "0.7"}
    return serve_both(READ_TOKEN=READ, TOKEN=CHANGE, THREADS="1", SESSION_THREADS="1", MAX_BATCH="1", **limits)


def files(*images: bytes) -> triton.InferInput:
    tensor = triton.InferInput("pictures", [len(images)], "BYTES")
    tensor.set_data_from_numpy(np.array(images, object))
    return tensor


def refusal(ask, *arguments, **options) -> tuple[str, str]:
    """The status and the message with which a call of Triton's client is refused."""
    with pytest.raises(InferenceServerException) as error:
        ask(*arguments, **options)
    return error.value.status().removeprefix("StatusCode."), error.value.message()


def raw_call(address: str, method: str, body: bytes, *metadata: tuple[str, str], **options) -> bytes:
    """The answer to bytes that are sent as they are."""
    with grpc.insecure_channel(address) as channel:
        return channel.unary_unary(SERVICE + method)(body, metadata=metadata, timeout=20, **options)


def raw_refusal(address: str, method: str, body: bytes, *metadata: tuple[str, str], **options) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        raw_call(address, method, body, *metadata, **options)
    return error.value.code(), error.value.details()


def test_the_messages_are_those_of_the_protocol():
    """By Triton's generated classes: each field of ours has there the same number, name and type."""
    nested = {"TensorMetadata": "ModelMetadataResponse", "InferInputTensor": "ModelInferRequest"}
    nested |= {"InferRequestedOutputTensor": "ModelInferRequest", "InferOutputTensor": "ModelInferResponse"}
    for name, fields in FIELDS.items():
        if name == "Parameter":
            theirs = service_pb2.ModelInferRequest.DESCRIPTOR.nested_types_by_name["ParametersEntry"]
        elif name in nested:
            theirs = getattr(service_pb2, nested[name]).DESCRIPTOR.nested_types_by_name[name]
        else:
            theirs = getattr(service_pb2, name).DESCRIPTOR
        ours = MESSAGES[name].DESCRIPTOR
        for number, field, _ in fields:
            one, other = ours.fields_by_number[number], theirs.fields_by_number[number]
            assert (one.name, one.type, one.is_repeated) == (field, other.type, other.is_repeated), name
            assert other.name == field
    served = {name for name, method in vars(service_pb2_grpc.GRPCInferenceServiceServicer).items() if callable(method)}
    assert {"ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer"} <= served


def test_health_and_metadata(client, both):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("small")
    assert client.is_model_ready("small", "v1")
    over_http = httpx2.get(f"{both.url}/v2").json()
    over_http["extensions"].remove("model_configuration")  # Of HTTP alone.
    assert client.get_server_metadata(as_json=True) == over_http
    found = client.get_model_metadata("small", as_json=True)
    wanted = httpx2.get(f"{both.url}/v2/models/small").json()
    for tensor in (*wanted["inputs"], *wanted["outputs"]):  # Protobuf's JSON has 64-bit integers as strings.
        tensor["shape"] = [str(length) for length in tensor["shape"]]
    assert found == wanted


def test_answers_are_those_of_http(client, both):
    images = (noise(), noise(60, seed=1))
    outputs = [triton.InferRequestedOutput("logits"), triton.InferRequestedOutput("probabilities")]
    found = client.infer("small", [files(*images)], outputs=outputs, request_id="mine", model_version="v1")
    response = found.get_response()
    assert (response.id, response.model_name, response.model_version) == ("mine", "small", "v1")
    logits, shares = found.as_numpy("logits"), found.as_numpy("probabilities")
    assert logits.shape == shares.shape == (2, 7)
    for image, row in zip(images, shares, strict=True):
        answer = httpx2.post(f"{both.url}/classify?top_k=7", content=image).json()
        wanted = {one["index"]: one["probability"] for one in answer["predictions"]}
        assert np.allclose(row, [wanted[i] for i in range(7)], atol=1e-6)
    classes = client.infer("small", [files(*images)], outputs=[triton.InferRequestedOutput("logits", class_count=2)])
    best = classes.as_numpy("logits")
    assert best.shape == (2, 2)
    assert [int(row[0].decode().split(":")[1]) for row in best] == logits.argmax(axis=1).tolist()


def test_prepared_images_in_both_places(both):
    """In raw_input_contents, as Triton's client sends them, and in contents, as the protocol began."""
    size = httpx2.get(f"{both.url}/v2/models/small").json()["inputs"][0]["shape"][-1]
    pixels = np.random.default_rng(0).normal(size=(1, 3, size, size)).astype(np.float32)
    rows = []
    for place in ("raw", "contents"):
        request = MESSAGES["ModelInferRequest"](model_name="small")
        tensor = request.inputs.add(name="images", datatype="FP32", shape=pixels.shape)
        if place == "raw":
            request.raw_input_contents.append(pixels.tobytes())
        else:
            tensor.contents.fp32_contents.extend(pixels.ravel().tolist())
        answer = MESSAGES["ModelInferResponse"].FromString(raw_call(both.grpc, "ModelInfer", request.SerializeToString()))
        assert (answer.outputs[0].name, answer.outputs[0].datatype, list(answer.outputs[0].shape)) == ("logits", "FP32", [1, 7])
        rows.append(np.frombuffer(answer.raw_output_contents[0], np.float32))
    assert np.array_equal(*rows)
    request = MESSAGES["ModelInferRequest"](model_name="small")
    tensor = request.inputs.add(name="pictures", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(noise())
    assert raw_call(both.grpc, "ModelInfer", request.SerializeToString())


def test_what_cannot_be_answered(client, both):
    assert refusal(client.is_model_ready, "no") == ("NOT_FOUND", "the store has no 'no'. Known: small.")
    assert refusal(client.infer, "small", [files(b"no image")])[0] == "INVALID_ARGUMENT"
    wrong = triton.InferInput("pictures", [1], "INT32")
    wrong.set_data_from_numpy(np.zeros(1, np.int32))
    code, message = refusal(client.infer, "small", [wrong])
    assert code == "INVALID_ARGUMENT"
    assert (
        message
        == httpx2.post(
            f"{both.url}/v2/models/small/infer",
            json={"inputs": [{"name": "pictures", "shape": [1], "datatype": "INT32", "data": [0]}]},
        ).json()["error"]
    )
    many = refusal(client.infer, "small", [files(*[b"x"] * 33)])
    assert many == ("INVALID_ARGUMENT", "33 images; at most 32 are taken at once")
    unknown = [triton.InferRequestedOutput("no")]
    assert refusal(client.infer, "small", [files(noise())], outputs=unknown)[0] == "INVALID_ARGUMENT"
    too_many = [triton.InferRequestedOutput("logits", class_count=8)]
    assert refusal(client.infer, "small", [files(noise())], outputs=too_many)[1].startswith("classification = 8")
    assert refusal(client.get_model_repository_index)[0] == "UNIMPLEMENTED"


@pytest.mark.parametrize("body", [b"\xff", b"\x3a\xff\xff\xff\xff\x7f", b"\x0a\x02\xff\xfe", b"\x3a\x00" * 20_000, b"{}"])
def test_no_message(both, body):
    code, message = raw_refusal(both.grpc, "ModelInfer", body)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "message" in message
    assert raw_call(both.grpc, "ServerLive", b"")


def test_a_request_of_nothing_is_refused(both):
    assert raw_refusal(both.grpc, "ModelInfer", b"")[0] is grpc.StatusCode.INVALID_ARGUMENT


def test_the_token_is_looked_at_before_the_message_is_read(strict, monkeypatch):
    read = []
    real = InferenceCalls._read

    async def noting(self, context):
        read.append(1)
        return await real(self, context)

    monkeypatch.setattr(InferenceCalls, "_read", noting)
    for metadata in ((), (("authorization", "Bearer wrong-token"),)):
        for method in ("ModelInfer", "ModelReady", "ModelMetadata", "ServerMetadata"):
            code, message = raw_refusal(strict.grpc, method, b"\xff" * 100_000, *metadata)
            assert code is grpc.StatusCode.UNAUTHENTICATED
            assert "Authorization: Bearer TOKEN" in message
    assert not read
    assert raw_call(strict.grpc, "ServerLive", b"")
    for token in (READ, CHANGE):
        assert raw_call(strict.grpc, "ServerMetadata", b"", ("authorization", f"Bearer {token}"))


BEARER = ("authorization", f"Bearer {READ}")


def infer_body(*images: bytes) -> bytes:
    request = MESSAGES["ModelInferRequest"](model_name="small")
    request.inputs.add(name="pictures", datatype="BYTES", shape=[len(images)])
    request.raw_input_contents.append(b"".join(len(one).to_bytes(4, "little") + one for one in images))
    return request.SerializeToString()


def test_sizes(strict):
    assert raw_refusal(strict.grpc, "ModelInfer", b"\x3a" * 400_000, BEARER)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    code, message = raw_refusal(strict.grpc, "ModelReady", b"\x0a" * 150_000, BEARER)
    assert (code, message) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "the message is longer than the allowed 100,000 bytes")
    assert raw_call(strict.grpc, "ModelInfer", infer_body(noise(100)), BEARER)
    code, message = raw_refusal(strict.grpc, "ModelInfer", infer_body(noise(101)), BEARER)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "101 x 101 pixels" in message
    code, _ = raw_refusal(strict.grpc, "ServerLive", b"", ("x-long", "x" * 40_000))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_nothing_is_decompressed(strict):
    code, message = raw_refusal(strict.grpc, "ModelInfer", b"\x00" * 150_000, BEARER, compression=grpc.Compression.Gzip)
    assert code in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL), message
    assert raw_call(strict.grpc, "ServerLive", b"")


def test_a_message_that_does_not_come(strict):
    def never():
        time.sleep(3)
        yield b""

    with grpc.insecure_channel(strict.grpc) as channel:
        call = channel.stream_unary(SERVICE + "ModelInfer")
        with pytest.raises(grpc.RpcError) as error:
            call(never(), metadata=[BEARER], timeout=20)
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "did not come within 0.5 s" in error.value.details()


def test_an_answer_that_takes_too_long(strict, monkeypatch):
    go_on, prepare = threading.Event(), Engine.prepare

    def slow(engine, data, **options):
        assert go_on.wait(30)
        return prepare(engine, data, **options)

    monkeypatch.setattr(Engine, "prepare", slow)
    code, message = raw_refusal(strict.grpc, "ModelInfer", infer_body(noise()), BEARER)
    go_on.set()
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "not classified within 0.7 s" in message
    monkeypatch.undo()
    assert raw_call(strict.grpc, "ModelInfer", infer_body(noise()), BEARER)


def test_a_fault_of_ours_is_not_explained(both, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("a secret of the server")

    monkeypatch.setattr("hubserve.service.grpc.calls.server_metadata", broken)
    assert raw_refusal(both.grpc, "ServerMetadata", b"") == (grpc.StatusCode.INTERNAL, "see the server's log")


def test_the_id_comes_back_and_calls_are_counted(both):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with grpc.insecure_channel(both.grpc) as channel:
        metadata = [("x-request-id", "order-7"), ("traceparent", trace)]
        _, call = channel.unary_unary(SERVICE + "ServerLive").with_call(b"", metadata=metadata)
        assert dict(call.trailing_metadata()) == {"x-request-id": "order-7", "traceparent": trace}
        with pytest.raises(grpc.RpcError) as error:
            channel.unary_unary(SERVICE + "ModelReady")(b"\x0a\x02no", metadata=metadata)
        assert dict(error.value.trailing_metadata())["x-request-id"] == "order-7"
    from prometheus_client import REGISTRY

    labels = {"route": "/inference.GRPCInferenceService/ServerLive", "status": "OK"}
    assert (REGISTRY.get_sample_value("hubserve_requests_total", labels) or 0) >= 1


KSERVE = """
import asyncio, json, sys
import numpy as np
from kserve import InferInput, InferRequest, InferenceGRPCClient, InferenceRESTClient, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

async def main(grpc, http, image):
    image = open(image, "rb").read()
    def request():
        tensor = InferInput("pictures", [1], "BYTES")
        tensor.set_data_from_numpy(np.array([image], object), binary_data=True)
        return InferRequest("small", [tensor], request_id="mine", request_outputs=[RequestedOutput("probabilities")])
    found = {}
    client = InferenceGRPCClient(grpc)
    found["ready"] = [await client.is_server_live(), await client.is_server_ready(), await client.is_model_ready("small")]
    answer = await client.infer(request())
    found["grpc"] = [answer.id, answer.model_name, answer.outputs[0].name, answer.outputs[0].as_numpy().ravel().tolist()]
    rest = InferenceRESTClient(RESTConfig(protocol="v2"))
    found["rest_ready"] = [await rest.is_server_live(http), await rest.is_server_ready(http)]
    found["rest_ready"].append(await rest.is_model_ready(http, "small"))
    answer = await rest.infer(http, request(), model_name="small")
    found["rest"] = [answer.id, answer.model_name, answer.outputs[0].name, answer.outputs[0].as_numpy().ravel().tolist()]
    print(json.dumps(found))

asyncio.run(main(*sys.argv[1:]))
"""
"""A program for a Python that has KServe's client, which wants other versions of libraries than we do."""


def test_kserves_own_clients(both, tmp_path):
    python = os.environ.get("HUBSERVE_TEST_KSERVE") or (sys.executable if find_spec("kserve") else None)
    if python is None:
        pytest.skip("kserve is not installed, and HUBSERVE_TEST_KSERVE names no Python that has it")
    image = tmp_path / "image.png"
    image.write_bytes(noise())
    command = [python, "-c", KSERVE, both.grpc, both.url, str(image)]
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, env=variables)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["ready"] == found["rest_ready"] == [True, True, True]
    answer = httpx2.post(f"{both.url}/classify?top_k=7", content=noise()).json()
    wanted = [one["probability"] for one in sorted(answer["predictions"], key=lambda one: one["index"])]
    for kind in ("grpc", "rest"):
        name, model, output, shares = found[kind]
        assert (name, model, output) == ("mine", "small", "probabilities")
        assert np.allclose(shares, wanted, atol=1e-6)
