"""Routes beyond /classify, on a service over a small store: models, the Open Inference Protocol, aliases, exports, searches."""

from __future__ import annotations

import base64
import errno
import io
import json
import os
import re
import time
import zipfile

import httpx2
import numpy as np
import pytest
import tritonclient.http as triton
from prometheus_client import REGISTRY

from hubserve import jobs, store
from hubserve.export.rebuild_model import rebuild_model
from hubserve.jobs.process import _take_lock
from hubserve.package.predictions import softmax
from hubserve.service.engine import Engine
from tests.export.nets import ARCH, SETTINGS
from tests.images import noise
from tests.jobs.definitions import TINY
from tests.stores import service_over, small_package, store_at

TOKEN, READ_TOKEN = "secret-of-the-tests", "another-secret"
CHANGE = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def monkeymodule():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def url(tmp_path_factory, monkeymodule):
    monkeymodule.setenv("HUBSERVE_TOKEN", TOKEN)
    monkeymodule.setenv("HUBSERVE_DEVICE", "cpu")
    home = tmp_path_factory.mktemp("bentoml")
    with store_at(home):
        # Before the service starts: it looks at the store now and then, and the tests come in any order.
        store.publish(small_package().path, version="v1")
        store.publish(small_package().path, version="v2")
    with service_over(home) as url:
        yield url


@pytest.fixture(scope="module")
def client(url):
    with httpx2.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def engine():
    return Engine(small_package(), device="cpu")


@pytest.fixture(scope="module")
def stranger(url):
    client = triton.InferenceServerClient(url.removeprefix("http://"))
    yield client
    client.close()


@pytest.fixture(scope="module")
def prepared(engine):
    return np.stack([engine.prepare(noise(seed=i)).pixels for i in range(3)])


@pytest.fixture
def sees(client):
    """Waits until the service, which looks at the store twice a second, tells something."""

    def wait(check):
        deadline = time.monotonic() + 120
        while not check():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    return wait


def problem(answer: httpx2.Response, status: int, kind: str) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["type"] == kind
    return error["message"]


class TestModels:
    def test_all_of_it(self, client):
        newest, older = client.get("/models").json()
        assert (newest["tag"], newest["default"], older["default"]) == ("small:v2", True, False)
        assert newest["space"] == "ProxylessNAS"
        assert (newest["classes"], newest["input_size"], newest["aliases"]) == (7, 32, [])
        assert newest["state"] == "loaded"

    def test_params_and_macs_come_once_they_are_counted(self, client, sees):
        sees(lambda: client.get("/models").json()[0]["params"])
        entry = client.get("/models").json()[0]
        model = rebuild_model(small_package())
        assert entry["params"] == sum(p.numel() for p in model.parameters())
        assert entry["macs"] > entry["params"]

    def test_memory_of_all_that_are_loaded(self, client):
        assert client.get("/models").json()[0]["state"] == "loaded"
        assert REGISTRY.get_sample_value("hubserve_loaded_bytes") > 10_000

    def test_card(self, client):
        card = client.get("/models/small/card").json()
        assert (card["tag"], card["arch"], card["settings"]["num_labels"]) == ("small:v2", ARCH, 7)
        assert client.get("/models/small:v1/card").json()["tag"] == "small:v1"

    def test_drawing(self, client):
        answer = client.get("/models/small/drawing.svg")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-type"] == "image/svg+xml"
        assert "sandbox" in answer.headers["content-security-policy"]
        assert "<svg" in answer.text

    def test_no_profile(self, client):
        assert "was not measured" in problem(client.get("/models/small/profile"), 404, "ModelNotFoundError")

    @pytest.mark.parametrize("page", ["card", "drawing.svg", "profile"])
    @pytest.mark.parametrize("tag", ["nosuch", "small:v3", "..", "%2e%2e%2fx", "a:b:c"])
    def test_no_such_model(self, client, page, tag):
        assert client.get(f"/models/{tag}/{page}").status_code == 404

    def test_paths_that_there_are_not(self, client):
        assert problem(client.get("/nosuch"), 404, "HTTPError")
        assert problem(client.put("/classify"), 405, "HTTPError")


class TestOpenInferenceProtocol:
    """By Triton's own client, which is a stranger to us."""

    def logits(self, engine, prepared):
        return np.stack([answer.logits for answer in engine.answer([engine.prepare(pixels) for pixels in prepared])])

    def test_server_and_models(self, stranger):
        assert stranger.is_server_live()
        assert stranger.is_server_ready()
        assert stranger.is_model_ready("small")
        assert stranger.is_model_ready("small", "v1")
        assert not stranger.is_model_ready("nosuch")
        assert stranger.get_server_metadata()["name"] == "hubserve"
        metadata = stranger.get_model_metadata("small")
        assert metadata["versions"] == ["v2", "v1"]
        # `pictures` is not among them: the protocol says that all of these are required.
        assert metadata["inputs"] == [{"name": "images", "datatype": "FP32", "shape": [-1, 3, 32, 32]}]
        assert metadata["platform"] == "onnx_onnxv1"
        assert metadata["outputs"][0] == {"name": "logits", "datatype": "FP32", "shape": [-1, 7]}

    @pytest.mark.parametrize("path", ["/v2/nosuch", "/v2/models/small/nosuch", "/v2/models/small/infer", "/v2/models/nosuch"])
    def test_paths_and_methods_that_there_are_not(self, client, path):
        answer = client.get(path)
        assert answer.status_code in (404, 405)
        assert isinstance(answer.json()["error"], str)

    @pytest.mark.parametrize("binary_in", [True, False])
    @pytest.mark.parametrize("binary_out", [True, False])
    def test_prepared_pictures(self, stranger, engine, prepared, binary_in, binary_out):
        images = triton.InferInput("images", prepared.shape, "FP32")
        images.set_data_from_numpy(prepared, binary_data=binary_in)
        wanted = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("logits", "probabilities")]
        result = stranger.infer("small", [images], outputs=wanted, request_id="r1")
        expected = self.logits(engine, prepared)
        np.testing.assert_allclose(result.as_numpy("logits"), expected, atol=1e-4)
        np.testing.assert_allclose(result.as_numpy("probabilities"), softmax(expected.astype(np.float64)), atol=1e-5)
        assert result.get_response()["id"] == "r1"
        assert result.get_response()["model_version"] == "v2"

    def test_picture_files(self, stranger, engine):
        files = [noise(seed=i) for i in range(2)]
        pictures = triton.InferInput("pictures", [2], "BYTES")
        pictures.set_data_from_numpy(np.array(files, dtype=object), binary_data=True)
        result = stranger.infer("small", [pictures], model_version="v1")
        np.testing.assert_allclose(result.as_numpy("logits"), [engine.classify(f).logits for f in files], atol=1e-4)
        assert result.get_response()["model_version"] == "v1"

    def test_picture_files_in_json(self, client, engine):
        text = base64.b64encode(noise()).decode()
        body = {"inputs": [{"name": "pictures", "shape": [1], "datatype": "BYTES", "data": [text]}]}
        outputs = client.post("/v2/models/small/infer", json=body).json()["outputs"]
        assert [output["name"] for output in outputs] == ["logits", "probabilities", "features"]
        np.testing.assert_allclose(outputs[0]["data"], engine.classify(noise()).logits, atol=1e-4)

    @pytest.mark.parametrize("binary", [True, False])
    def test_classes_with_their_names(self, stranger, engine, binary):
        pictures = triton.InferInput("pictures", [1], "BYTES")
        pictures.set_data_from_numpy(np.array([noise()], dtype=object), binary_data=True)
        wanted = [triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=2)]
        texts = stranger.infer("small", [pictures], outputs=wanted).as_numpy("probabilities").ravel()
        for text, expected in zip(texts, engine.classify(noise()).predictions, strict=False):
            value, index, label = (text.decode() if isinstance(text, bytes) else text).split(":")
            assert (int(index), label) == (expected.index, expected.label)
            assert float(value) == pytest.approx(expected.probability, abs=1e-5)

    @pytest.mark.parametrize(
        ("tensor", "says"),
        [
            ({"name": "images", "shape": [1, 3, 32, 32], "datatype": "FP16", "data": []}, "input 'images' of FP16"),
            ({"name": "images", "shape": [1, 3, 31, 32], "datatype": "FP32", "data": [0.0] * 2976}, "this model takes"),
            ({"name": "images", "shape": [1, 3, 32, 32], "datatype": "FP32", "data": [0.0]}, "3072 elements, and 1 came"),
            ({"name": "images", "shape": [1, *[2**30] * 3], "datatype": "FP32", "data": [0.0]}, "elements, and 1 came"),
            ({"name": "images", "shape": [0], "datatype": "FP32", "data": []}, "sides are at least 1"),
            ({"name": "images", "shape": [1, 1, 1, 1], "datatype": "FP32", "data": ["x"]}, "no numbers"),
            ({"name": "images", "shape": [1, 1, 1, 1], "datatype": "FP32", "data": [[1], [2, 3]]}, "no numbers"),
            ({"name": "images", "shape": [1, 1, 1, 1], "datatype": "FP32", "data": [float("nan")]}, "not finite"),
            ({"name": "pictures", "shape": [1], "datatype": "BYTES", "data": ["%%"]}, "not base64"),
            ({"name": "pictures", "shape": [1], "datatype": "BYTES", "data": [3]}, "is a int"),
            ({"name": "pictures", "shape": [2], "datatype": "BYTES", "data": ["AAAA"]}, "2 elements, and 1 came"),
            ({"name": "x", "shape": [1], "datatype": "BYTES", "data": ["AAAA"]}, "input 'x'"),
            ({"shape": [1], "datatype": "BYTES"}, "inputs.0.name"),
        ],
    )
    def test_tensors_that_do_not_fit(self, client, tensor, says):
        answer = client.post("/v2/models/small/infer", content=json.dumps({"inputs": [tensor]}))
        assert answer.status_code == 400
        # The protocol wants the sentence alone.
        assert says in answer.json()["error"]

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"inputs": []}', b"\xff", b"[" * 100_000])
    def test_bodies_that_are_none(self, client, body):
        assert client.post("/v2/models/small/infer", content=body).status_code == 400

    @pytest.mark.parametrize("length", ["x", "-1", "999999", "1" * 400])
    def test_lengths_that_are_none(self, client, length):
        headers = {"Inference-Header-Content-Length": length}
        assert client.post("/v2/models/small/infer", content=b"{}", headers=headers).status_code == 400

    def test_a_file_that_is_no_picture(self, client):
        body = {"inputs": [{"name": "pictures", "shape": [1], "datatype": "BYTES", "data": ["AAAA"]}]}
        answer = client.post("/v2/models/small/infer", json=body)
        assert answer.status_code == 415
        assert "not a readable image" in answer.json()["error"]

    @pytest.mark.parametrize("binary", [True, False])
    def test_features(self, stranger, engine, prepared, binary):
        images = triton.InferInput("images", prepared.shape, "FP32")
        images.set_data_from_numpy(prepared)
        wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("features", "logits")]
        result = stranger.infer("small", [images], outputs=wanted)
        expected = engine._runner.with_features(prepared)
        for name, values in zip(("logits", "features"), expected, strict=True):
            np.testing.assert_allclose(result.as_numpy(name), values, atol=1e-4)
        outputs = {output["name"]: output["shape"] for output in stranger.get_model_metadata("small")["outputs"]}
        assert outputs == {"logits": [-1, 7], "probabilities": [-1, 7], "features": [-1, 32]}

    def test_outputs_that_there_are_not(self, client):
        tensor = {"name": "pictures", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(noise()).decode()]}
        top = {"parameters": {"classification": 2}}
        for outputs in (
            [{"name": "x"}],
            [{"name": "logits", "parameters": {"classification": 8}}],
            [{"name": "features", **top}],
        ):
            assert client.post("/v2/models/small/infer", json={"inputs": [tensor], "outputs": outputs}).status_code == 400


class TestUnknownParameters:
    """A misspelled name is refused: ignored, it would go unnoticed."""

    @pytest.mark.parametrize(
        ("method", "path", "says"),
        [
            ("POST", "/classify?threshold=0.5", "threshold: unknown in the query. Known: model, top_k."),
            ("POST", "/classify?topk=3", "topk: unknown in the query. Did you mean top_k?"),
            ("POST", "/classify?top_k=3&Model=small", "Model: unknown in the query. Did you mean model?"),
            ("GET", "/models?page=3", "page: unknown in the query. "),
            ("GET", "/models/small/card?full=1", "full"),
            ("GET", "/aliases?x=", "x: unknown"),
            ("GET", "/exports?state=done", "state"),
            ("GET", "/search_jobs?state=done", "state"),
            ("GET", "/search_jobs/available?x=1", "x"),
        ],
    )
    def test_in_the_query(self, client, method, path, says):
        assert says in problem(client.request(method, path, content=noise()), 422, "ParameterError")

    @pytest.mark.parametrize(("field", "says"), [("topk", "topk: unknown in the form."), ("images", "Did you mean image?")])
    def test_in_the_form(self, client, field, says):
        answer = client.post("/classify", files={"image": ("a.png", noise())}, data={field: "3"})
        assert says in problem(answer, 422, "ParameterError")
        assert client.post("/classify", files={"image": ("a.png", noise())}).status_code == 200

    def test_parameters_of_the_protocol_are_its_own(self, client):
        assert client.get("/v2/models/small?x=1").status_code == 200


class TestTokens:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("PUT", "/aliases/x"),
            ("DELETE", "/aliases/x"),
            ("POST", "/exports"),
            ("POST", "/search_jobs"),
            ("DELETE", "/search_jobs/x"),
        ],
    )
    @pytest.mark.parametrize("given", [None, "", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer \xff\xfe"])
    def test_changes_want_one(self, client, method, path, given):
        headers = {} if given is None else {"Authorization": given.encode("latin-1")}
        answer = client.request(method, path, json={}, headers=headers)
        assert "Bearer" in problem(answer, 401, "UnauthorizedError")
        assert answer.headers["www-authenticate"] == "Bearer"


class TestAliases:
    def test_set_use_and_delete(self, client, sees):
        wish = {"model": "small:v1", "canary": "small:v2", "weight": 50}
        entry = client.put("/aliases/production", json=wish, headers=CHANGE).json()
        assert entry == {"name": "production", **wish}
        assert client.get("/aliases").json() == [entry]
        sees(lambda: client.get("/models").json()[1]["aliases"] == ["production"])
        answers = {client.post("/classify?model=production", content=noise()).json()["model"] for _ in range(30)}
        assert answers == {"small:v1", "small:v2"}
        assert client.delete("/aliases/production", headers=CHANGE).status_code == 204
        sees(lambda: client.get("/models").json()[1]["aliases"] == [])

    def test_on_a_full_disk(self, client, monkeypatch):
        def full(unfinished, path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(unfinished))

        before = client.get("/aliases").json()
        monkeypatch.setattr("hubserve.atomic._replace", full)
        answer = client.put("/aliases/full", json={"model": "small:v1"}, headers=CHANGE)
        assert "no space is left on its disk" in problem(answer, 507, "StorageError")
        assert client.get("/aliases").json() == before

    def test_what_cannot_be(self, client):
        assert problem(client.put("/aliases/x", json={"model": "nosuch"}, headers=CHANGE), 404, "ModelNotFoundError")
        assert problem(client.put("/aliases/A", json={"model": "small"}, headers=CHANGE), 422, "AliasError")
        assert problem(client.put("/aliases/x", json={"model": 3}, headers=CHANGE), 422, "ParameterError")
        assert problem(client.delete("/aliases/x", headers=CHANGE), 404, "ModelNotFoundError")


@pytest.mark.slow
class TestExports:
    def test_from_start_to_download(self, client, sees):
        wish = {"space": "ProxylessNAS", "settings": SETTINGS, "arch": ARCH, "formats": ["torchscript"]}
        answer = client.post("/exports", json=wish, headers=CHANGE)
        assert answer.status_code == 202, answer.text
        identity = answer.json()["id"]
        assert answer.json()["state"] == "running"
        # One at a time, as set.
        refused = client.post("/exports", json=wish, headers=CHANGE)
        assert "at most 1 exports run at once" in problem(refused, 503, "OverloadedError")
        assert refused.headers["retry-after"]
        assert client.get(f"/exports/{identity}/package").status_code == 404
        sees(lambda: client.get(f"/exports/{identity}").json()["state"] != "running")
        status = client.get(f"/exports/{identity}").json()
        assert (status["state"], status["error"]) == ("done", None)
        archive = zipfile.ZipFile(io.BytesIO(client.get(status["package"]).content))
        names = {name.partition("/")[2] for name in archive.namelist()}
        assert names >= {"manifest.json", "model.torchscript.pt", "weights.safetensors", "labels.txt", "parity.json"}
        assert json.loads(archive.read("package/manifest.json"))["arch"] == ARCH
        assert [entry["id"] for entry in client.get("/exports").json()] == [identity]

    @pytest.mark.parametrize(
        ("wish", "status", "kind"),
        [
            ({}, 422, "ParameterError"),
            ({"model": "efficientnet-lite0", "space": "DARTS"}, 422, "ParameterError"),
            ({"model": "../x"}, 422, "ParameterError"),
            ({"model": "--help"}, 422, "ParameterError"),
            ({"model": "efficientnet-lite9"}, 404, "ModelNotFoundError"),
            pytest.param({"space": "Nosuch", "arch": {}}, 422, "SpaceError", marks=pytest.mark.slow),
            pytest.param(
                {"space": "ProxylessNAS", "settings": {"nosuch": 1}, "arch": {}}, 422, "SpaceError", marks=pytest.mark.slow
            ),
            ({"space": "ProxylessNAS", "settings": SETTINGS, "arch": {}}, 422, "ArchError"),
            ({"model": "efficientnet-lite0", "formats": ["exe"]}, 422, "ParameterError"),
            ({"model": "efficientnet-lite0", "formats": ["onnx", "onnx-int8"]}, 422, "ParameterError"),
        ],
    )
    def test_what_cannot_be(self, client, wish, status, kind):
        before = client.get("/exports").json()
        problem(client.post("/exports", json=wish, headers=CHANGE), status, kind)
        assert client.get("/exports").json() == before

    def test_what_is_possible_in_place_of_integers(self, client):
        answer = client.post("/exports", json={"model": "efficientnet-lite0", "formats": ["onnx-int8"]}, headers=CHANGE)
        said = problem(answer, 422, "ParameterError")
        assert (
            "formats may have onnx, torchscript, pt2, onnx-fp16, executorch, litert, ncnn; `hubserve export --format onnx-int8"
            in said
        )

    @pytest.mark.parametrize("identity", ["nosuch", "%2e%2e", "20200101-000000-00000000"])
    def test_no_such_export(self, client, identity):
        assert client.get(f"/exports/{identity}").status_code == 404
        assert client.get(f"/exports/{identity}/package").status_code == 404


class TestSearchJobs:
    def test_available(self, client):
        assert all(set(entry) == {"name", "summary"} for entry in client.get("/search_jobs/available").json())

    @pytest.mark.parametrize(
        ("wanted", "status", "kind"),
        [
            ({}, 422, "ParameterError"),
            ({"job": "nosuch"}, 404, "JobNotFoundError"),
            ({"definition": {}}, 422, "JobError"),
            ({"definition": {"name": "../x"}}, 422, "JobError"),
            ({"job": "../../etc/passwd"}, 404, "JobNotFoundError"),
        ],
    )
    def test_what_cannot_be(self, client, wanted, status, kind):
        problem(client.post("/search_jobs", json=wanted, headers=CHANGE), status, kind)
        assert client.get("/search_jobs").json() == []

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            pytest.param({"space": {"name": "NasBench202"}}, "space: .*NasBench201", marks=pytest.mark.slow),
            pytest.param({"space": {"name": "NasBench201", "settings": {"stem": 8}}}, "space: ", marks=pytest.mark.slow),
            pytest.param({"strategy": {"name": "Random", "arguments": {"population": 3}}}, "strategy", marks=pytest.mark.slow),
            ({"budget": {}}, "budget: give trials or seconds"),
        ],
    )
    def test_names_are_checked_before_there_is_a_folder(self, client, changes, says):
        answer = client.post("/search_jobs", json={"definition": {**TINY, **changes}}, headers=CHANGE)
        assert re.search(says, problem(answer, 422, "JobError"))
        assert client.get("/search_jobs").json() == []

    def test_a_check_that_takes_too_long(self, client, monkeypatch):
        monkeypatch.setattr("hubserve.service.definition_checker.SECONDS", 0.01)
        answer = client.post("/search_jobs", json={"definition": TINY}, headers=CHANGE)
        assert "not checked within 0.01 s" in problem(answer, 503, "OverloadedError")
        assert client.get("/search_jobs").json() == []

    def test_a_job_is_parsed_once(self, client, monkeypatch):
        parsed = []

        def counting(real):
            def parse(given, *, where):
                parsed.append(where)
                return real(given, where=where)

            return parse

        module = jobs.create.__module__
        for place in ("hubserve.jobs.parse_job", "hubserve.jobs.parse_mapping", f"{module}.parse_job"):
            monkeypatch.setattr(place, counting(getattr(jobs, place.rpartition(".")[2])))
        monkeypatch.setattr(jobs, "start", lambda run: None)
        identity = client.post("/search_jobs", json={"definition": TINY}, headers=CHANGE).json()["id"]
        assert parsed == ["the definition"]
        jobs.delete(jobs.find(identity))

    def test_as_many_as_may_run(self, client):
        """Two unless set; their processes are locks of this one."""
        runs = [jobs.create(TINY) for _ in range(2)]
        locks = [_take_lock(run) for run in runs]
        try:
            answer = client.post("/search_jobs", json={"definition": TINY}, headers=CHANGE)
            said = problem(answer, 503, "OverloadedError")
            assert answer.headers["retry-after"] == "1"
            assert "2 jobs run" in said
            assert "DELETE /jobs/" in said
            assert all(run.id in said for run in runs)
            assert len(jobs.list_runs()) == 2
        finally:
            for run, lock in zip(runs, locks, strict=True):
                os.close(lock)
                jobs.delete(run)

    def test_a_run_that_is_there(self, client):
        run = jobs.create(TINY)
        assert client.get(f"/search_jobs/{run.id}").json()["state"] == "queued"
        assert [entry["id"] for entry in client.get("/search_jobs").json()] == [run.id]
        assert client.get(f"/search_jobs/{run.id}/plots/best.svg").status_code == 404
        (run.path / "plots").mkdir(exist_ok=True)
        (run.path / "plots" / "best.svg").write_text("<svg/>")
        assert client.get(f"/search_jobs/{run.id}/plots/best.svg").text == "<svg/>"
        assert client.delete(f"/search_jobs/{run.id}", headers=CHANGE).status_code == 202
        jobs.delete(run)

    @pytest.mark.parametrize("identity", ["nosuch", "%2e%2e", "%2e%2e%2fx"])
    def test_no_such_job(self, client, identity):
        assert client.get(f"/search_jobs/{identity}").status_code == 404
        assert client.delete(f"/search_jobs/{identity}", headers=CHANGE).status_code in (404, 405)
        assert client.get(f"/search_jobs/{identity}/plots/best.svg").status_code == 404
