"""The service as its callers see it: real BentoML, real model, real pictures."""

from __future__ import annotations

import base64
import socket
import struct
import subprocess
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from hubserve.accuracy import evaluate
from hubserve.cards.labels import labels
from hubserve.data.image_folder import labelled_images
from hubserve.export.write_package import write_package
from hubserve.http_classifiers import HttpClassifier
from tests.export.nets import small_source
from tests.images import noise, photo

CATS = {"tabby", "tiger cat", "Egyptian cat"}

pytestmark = pytest.mark.xdist_group("server")
"""One worker runs them all, on one server."""


@pytest.fixture(scope="module")
def client(server):
    with httpx2.Client(base_url=server.url, timeout=30) as client:
        yield client


def problem(answer: httpx2.Response, status: int, kind: str) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["type"] == kind
    return error["message"]


class TestClassify:
    @pytest.mark.parametrize(("name", "right"), [("chelsea", CATS), ("coffee", {"espresso"})])
    def test_right_classes(self, client, name, right):
        answer = client.post("/classify", content=photo(name)).json()
        assert answer["predictions"][0]["label"] in right
        assert answer["model"].startswith("efficientnet-lite0:")
        assert len(answer["predictions"]) == 5
        probabilities = [p["probability"] for p in answer["predictions"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert 0 < sum(probabilities) <= 1
        assert set(answer["timing_ms"]) == {"decode", "infer"}

    def test_curl_as_in_the_readme(self, server, tmp_path):
        (tmp_path / "photo.jpg").write_bytes(photo("coffee"))
        command = ["curl", "-s", "--data-binary", f"@{tmp_path}/photo.jpg", f"{server.url}/classify?top_k=3"]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert '"label":"espresso"' in answer

    @pytest.mark.parametrize(
        "kind", ["image/png", "application/octet-stream", "application/x-www-form-urlencoded", "text/plain"]
    )
    def test_any_content_type_for_a_raw_body(self, client, kind):
        answer = client.post("/classify", content=photo("coffee", "PNG"), headers={"Content-Type": kind})
        assert answer.json()["predictions"][0]["label"] == "espresso"

    def test_multipart(self, client):
        answer = client.post("/classify", files={"image": ("c.jpg", photo("coffee"))})
        assert answer.json()["predictions"][0]["label"] == "espresso"

    def test_several_pictures_in_a_form(self, client):
        files = [("image", ("a.jpg", photo("coffee"))), ("image", ("b.txt", b"hello")), ("image", ("c.jpg", photo("chelsea")))]
        coffee, text, chelsea = client.post("/classify", files=files).json()["results"]
        assert coffee["predictions"][0]["label"] == "espresso"
        assert text["error"]["type"] == "ImageError"
        assert chelsea["predictions"][0]["label"] in CATS

    def test_json(self, client):
        coffee = base64.b64encode(photo("coffee")).decode()
        one = client.post("/classify?top_k=2", json={"image": coffee}).json()
        assert one["predictions"][0]["label"] == "espresso"
        many = client.post("/classify?top_k=2", json={"images": [coffee] * 3}).json()["results"]
        assert [result["predictions"] for result in many] == [
            [{**p, "probability": pytest.approx(p["probability"], abs=1e-5)} for p in one["predictions"]]
        ] * 3

    def test_chunked_body(self, client):
        data = photo("coffee")
        answer = client.post("/classify", content=(data[i : i + 5000] for i in range(0, len(data), 5000)))
        assert answer.json()["predictions"][0]["label"] == "espresso"

    def test_all_classes(self, client):
        answer = client.post("/classify?top_k=1000", content=photo("coffee")).json()
        assert sum(p["probability"] for p in answer["predictions"]) == pytest.approx(1)
        assert sorted(p["index"] for p in answer["predictions"]) == list(range(1000))

    def test_many_at_once(self, client):
        with ThreadPoolExecutor(16) as pool:
            answers = list(
                pool.map(lambda name: (name, client.post("/classify", content=photo(name))), ["coffee", "chelsea"] * 16)
            )
        for name, answer in answers:
            assert answer.status_code == 200
            assert answer.json()["predictions"][0]["label"] in (CATS if name == "chelsea" else {"espresso"})


class TestRefusals:
    def test_no_picture(self, client):
        assert "no image" in problem(client.post("/classify", content=b""), 400, "RequestBodyError")

    def test_not_a_picture(self, client):
        assert "not a readable image" in problem(client.post("/classify", content=b"hello"), 415, "ImageError")

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            (b"{", "the JSON cannot be read: the body"),
            (b"[]", "the JSON cannot be read"),
            (b"{}", "no image"),
            (b'{"image": "%%%"}', "the JSON cannot be read: image"),
            (b'{"images": ["AAAA", 3]}', "images.1"),
            (b'{"images": []}', "no image"),
            (b'{"images": [""]}', "an empty one"),
            (b'{"image": "AAAA", "images": ["AAAA"]}', "give one of them"),
            (b'{"picture": "AAAA"}', "picture: Extra inputs are not permitted"),
            (b'{"images": [' + b'"AAAA",' * 40 + b'"AAAA"]}', "41 images; at most 32"),
            (b"\xff\xfe", "the JSON cannot be read"),
        ],
    )
    def test_json_that_says_nothing(self, client, body, says):
        answer = client.post("/classify", content=body, headers={"Content-Type": "application/json"})
        assert says in problem(answer, 400, "RequestBodyError")

    def test_half_a_picture(self, client):
        data = photo("coffee")
        problem(client.post("/classify", content=data[: len(data) // 2]), 415, "ImageError")

    def test_too_many_bytes(self, client):
        message = problem(client.post("/classify", content=b"x" * 20_000_001), 413, "ImageTooLargeError")
        assert "20,000,000 bytes" in message

    def test_too_many_bytes_without_saying_so_before(self, client):
        answer = client.post("/classify", content=(b"x" * 1_000_000 for _ in range(22)))
        problem(answer, 413, "ImageTooLargeError")

    def test_too_many_pixels(self, client):
        bomb = bytearray(noise())
        bomb[16:24] = struct.pack(">II", 30000, 30000)
        bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
        message = problem(client.post("/classify", content=bytes(bomb)), 413, "ImageTooLargeError")
        assert "900000000 pixels" in message
        assert "at most 50,000,000" in message

    def test_unknown_model(self, client):
        message = problem(client.post("/classify?model=efficientnet-lite", content=photo("coffee")), 404, "ModelNotFoundError")
        assert "Did you mean efficientnet-lite0?" in message

    @pytest.mark.parametrize("model", ["../../etc", "a:b:c", "%00", "x" * 500, "efficientnet-lite0:latest2"])
    def test_strange_models(self, client, model):
        problem(client.post("/classify", params={"model": model}, content=photo("coffee")), 404, "ModelNotFoundError")

    @pytest.mark.parametrize(("top_k", "kind"), [("0", "ParameterError"), ("x", "ParameterError"), ("1001", "TopKError")])
    def test_bad_top_k(self, client, top_k, kind):
        message = problem(client.post(f"/classify?top_k={top_k}", content=photo("coffee")), 422, kind)
        assert "top_k" in message

    def test_a_form_without_the_field(self, client):
        answer = client.post("/classify", files={"photo": ("c.jpg", photo("coffee"))})
        assert "no file in the field 'image'; its fields: photo" in problem(answer, 400, "RequestBodyError")

    @pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=x"])
    def test_a_damaged_form(self, client, kind):
        problem(client.post("/classify", content=b"nonsense", headers={"Content-Type": kind}), 400, "RequestBodyError")

    def test_the_wrong_method(self, client):
        assert client.get("/classify").status_code == 405

    def test_a_client_that_leaves_is_no_fault_of_ours(self, server, client):
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as s:
            s.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nshort")
        assert client.post("/classify", content=photo("coffee")).status_code == 200
        assert "Traceback" not in server.log.read_text()


class TestAround:
    def test_each_event_is_one_line_of_the_log(self, server):
        lines = [line for line in server.log.read_text().splitlines() if "answers for requests that name no model" in line]
        assert len(lines) == 1
        assert "efficientnet-lite0:" in lines[0]

    def test_models(self, client):
        (entry,) = [m for m in client.get("/models").json() if m["tag"].startswith("efficientnet-lite0:")]
        assert entry["space"] == "ProxylessNAS"
        assert entry["input_size"] == 224
        assert entry["metric"]["top1"] == 75.1
        assert entry["default"]

    @pytest.mark.parametrize("path", ["/readyz", "/livez", "/healthz"])
    def test_health(self, client, path):
        assert client.get(path).status_code == 200

    def test_metrics_count_requests(self, client):
        client.post("/classify", content=photo("coffee"))
        assert "bentoml" in client.get("/metrics").text

    def test_openapi_describes_our_routes(self, client):
        paths = client.get("/docs.json").json()["paths"]
        classify = paths["/classify"]["post"]
        assert {p["name"] for p in classify["parameters"]} == {"model", "top_k"}
        assert set(classify["requestBody"]["content"]) >= {"image/*", "multipart/form-data"}
        assert set(classify["responses"]) >= {"200", "400", "404", "413", "415", "422"}
        assert "/models" in paths

    @pytest.mark.long
    def test_a_new_model_is_served_without_a_restart(self, server, client, tmp_path):
        write_package(small_source("newcomer"), tmp_path / "newcomer", formats=("onnx",))
        problem(client.post("/classify?model=newcomer", content=noise()), 404, "ModelNotFoundError")
        server.hubserve("publish", str(tmp_path / "newcomer"))
        deadline = time.monotonic() + 2
        while (answer := client.post("/classify?model=newcomer", content=noise())).status_code == 404:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        # Five unless asked for, of seven classes.
        assert len(answer.json()["predictions"]) == 5
        server.hubserve("delete", "newcomer")


@pytest.mark.slow
def test_the_same_accuracy_over_http(server, shared):
    names = labels("imagenet-1k")
    pictures = labelled_images(shared / "data" / "imagenet_samples", names)
    lite0 = HttpClassifier(server.url, labels=names, model="efficientnet-lite0")
    report = evaluate(lite0, pictures, labels=names, model="efficientnet-lite0", backend="http", dataset="samples")
    assert report.images == 250
    assert abs(report.top1_hits - 224) <= 1
    assert abs(report.top5_hits - 246) <= 1
