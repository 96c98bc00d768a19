"""Settings: read from the environment, refused where they make no sense, and obeyed by the service."""

from __future__ import annotations

import base64
import threading
from pathlib import Path

import httpx2
import pytest
from pydantic import ValidationError

from hubserve import store
from hubserve.preprocess import MAX_PIXELS
from hubserve.service.engine import Engine
from hubserve.service.settings import PREFIX, ServiceSettings
from tests.images import noise
from tests.stores import service_over, small_package, tiny_package


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    for name in ServiceSettings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)


def read(monkeypatch, **given: str) -> ServiceSettings:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return ServiceSettings.from_environment()


class TestFromEnvironment:
    def test_unless_set(self):
        settings = ServiceSettings.from_environment()
        assert settings == ServiceSettings()
        assert settings.model is None
        assert settings.device == "auto"
        assert (settings.threads, settings.session_threads, settings.max_batch) == (None, None, None)
        assert settings.token is None
        assert settings.max_megapixels * 1e6 == MAX_PIXELS

    @pytest.mark.parametrize(
        ("name", "text", "value"),
        [
            ("model", "efficientnet-lite0:latest", "efficientnet-lite0:latest"),
            ("threads", "3", 3),
            ("device", "cpu", "cpu"),
            ("max_body_mb", "0.5", 0.5),
            ("max_megapixels", "12", 12.0),
            ("resolve_seconds", "0", 0.0),
            ("backend", "openvino", "openvino"),
            ("backend", "onnxruntime", "onnx"),
            ("backend", "auto", "auto"),
            ("tracing", "true", 1.0),
            ("tracing", "0.05", 0.05),
            ("log", "json", "json"),
            ("grpc_port", "8001", 8001),
            ("prediction_log", "/x", Path("/x")),
            ("access_log", "false", False),
            ("data_roots", "/data:/mnt/more", (Path("/data"), Path("/mnt/more"))),
        ],
    )
    def test_each(self, monkeypatch, name, text, value):
        settings = read(monkeypatch, **{f"HUBSERVE_{name.upper()}": text})
        assert settings == ServiceSettings().model_copy(update={name: value})

    def test_there_is_no_other(self):
        """So that the test above has them all."""
        names = (
            "model backend device threads session_threads max_batch "
            "max_waiting max_waiting_megapixels "
            "max_images max_body_mb max_header_kb max_connections max_pending_mb max_megapixels require_jpeg_end "
            "body_seconds answer_seconds resolve_seconds model_memory_mb load_seconds drain_seconds "
            "max_exports max_search_jobs "
            "upload_mb upload_expanded_mb upload_total_mb upload_files upload_seconds "
            "data_roots job_workers job_trials job_epochs job_modules job_memory_mb job_seconds export_seconds "
            "allow_import_paths allowed_hosts token read_token "
            "prediction_log prediction_log_mb prediction_log_files prediction_log_images "
            "grpc_port grpc_host web_runtime web_model_mb tracing log access_log"
        )
        assert list(ServiceSettings.model_fields) == names.split()

    def test_each_is_explained(self):
        for name in ServiceSettings.model_fields:
            assert f"\n        {name}: " in f"\n    {ServiceSettings.__doc__}"

    def test_empty_is_unset(self, monkeypatch):
        assert read(monkeypatch, HUBSERVE_MODEL="", HUBSERVE_THREADS="", HUBSERVE_DEVICE="") == ServiceSettings()

    def test_other_variables_of_ours_are_no_settings(self, monkeypatch):
        assert read(monkeypatch, HUBSERVE_HOME="/x", HUBSERVE_OFFLINE="1", threads="7", MODEL="x") == ServiceSettings()

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("threads", "0"),
            ("threads", "-1"),
            ("threads", "two"),
            ("threads", "1.5"),
            ("device", "gpu"),
            ("device", "CPU"),
            ("max_body_mb", "0"),
            ("max_body_mb", "20MB"),
            ("max_body_mb", "nan"),
            ("max_megapixels", "-5"),
            ("resolve_seconds", "-0.1"),
            ("resolve_seconds", "inf"),
            ("backend", "torch"),
            ("backend", "pt2"),  # Loading it may run its author's code.
            ("backend", "torchscript"),
            ("tracing", "perhaps"),
            ("tracing", "1.5"),
            ("log", "xml"),
            ("grpc_port", "0"),
            ("prediction_log_files", "1"),
        ],
    )
    def test_what_makes_no_sense_is_named(self, monkeypatch, name, text):
        with pytest.raises(ValidationError, match=name) as error:
            read(monkeypatch, **{PREFIX + name.upper(): text})
        assert [e["loc"] for e in error.value.errors()] == [(name,)]
        assert text in str(error.value)

    @pytest.mark.parametrize("name", ["max_body_mb", "max_megapixels"])
    def test_infinity_is_no_limit(self, monkeypatch, name):
        with pytest.raises(ValidationError, match=name):
            read(monkeypatch, **{PREFIX + name.upper(): "inf"})

    def test_they_do_not_change(self):
        with pytest.raises(ValidationError, match="frozen"):
            ServiceSettings().threads = 2


class TestTheServiceObeys:
    @pytest.fixture
    def serve(self, tmp_path, monkeypatch):
        """Asks a service with these settings for one picture, and for its models."""

        def ask(picture: bytes, **settings: str):
            for name, value in settings.items():
                monkeypatch.setenv(name, value)
            with service_over(tmp_path) as url:
                older, newer = (store.publish(small_package().path, name=name) for name in ("older", "newer"))
                assert older.created < newer.created
                return httpx2.post(f"{url}/classify", content=picture), httpx2.get(f"{url}/models").json()

        return ask

    def test_without_any_the_newest_answers(self, serve):
        answer, models = serve(noise())
        assert answer.json()["model"].startswith("newer:")
        assert [(m["tag"].partition(":")[0], m["default"]) for m in models] == [("newer", True), ("older", False)]

    def test_model(self, serve):
        answer, models = serve(noise(), HUBSERVE_MODEL="older")
        assert answer.json()["model"].startswith("older:")
        assert [m["default"] for m in models] == [False, True]

    def test_max_body_mb(self, serve):
        picture = noise(40)
        assert serve(picture, HUBSERVE_MAX_BODY_MB=str(len(picture) / 1e6))[0].status_code == 200
        answer, _ = serve(picture, HUBSERVE_MAX_BODY_MB=str((len(picture) - 1) / 1e6))
        assert answer.status_code == 413
        assert f"{len(picture) - 1:,} bytes" in answer.json()["error"]["message"]

    def test_max_megapixels(self, serve):
        assert serve(noise(40), HUBSERVE_MAX_MEGAPIXELS="0.0016")[0].status_code == 200
        answer, _ = serve(noise(41), HUBSERVE_MAX_MEGAPIXELS="0.0016")
        assert answer.status_code == 413
        assert "41 x 41 pixels; at most 1,600" in answer.json()["error"]["message"]

    def test_resolve_seconds(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HUBSERVE_RESOLVE_SECONDS", "3600")
        with service_over(tmp_path) as url:
            store.publish(small_package().path, name="newer")
            assert httpx2.post(f"{url}/classify", content=noise()).json()["model"].startswith("newer:")
            store.publish(small_package().path, name="newest")
            assert httpx2.post(f"{url}/classify", content=noise()).json()["model"].startswith("newer:")

    def test_answer_seconds(self, tmp_path, monkeypatch):
        """Of three pictures the first never ends; the others are let go."""
        go_on, begun = threading.Event(), []
        prepare = Engine.prepare

        def slow(engine, data, **options):
            begun.append(data)
            assert go_on.wait(30)
            return prepare(engine, data, **options)

        for name, value in {"ANSWER_SECONDS": "0.2", "THREADS": "1", "SESSION_THREADS": "1", "MAX_BATCH": "4"}.items():
            monkeypatch.setenv(f"HUBSERVE_{name}", value)
        text = base64.b64encode(noise()).decode()
        tensor = {"name": "pictures", "shape": [3], "datatype": "BYTES", "data": [text] * 3}
        with service_over(tmp_path) as url:
            store.publish(small_package().path)
            while httpx2.get(f"{url}/v2/health/ready").status_code != 200:
                pass
            monkeypatch.setattr(Engine, "prepare", slow)
            late = httpx2.post(f"{url}/classify", json={"images": [text] * 3})
            of_the_protocol = httpx2.post(f"{url}/v2/models/small/infer", json={"inputs": [tensor]})
            go_on.set()
            monkeypatch.setattr(Engine, "prepare", prepare)
            monkeypatch.undo()
            assert httpx2.post(f"{url}/classify", content=noise()).status_code == 200
        assert len(begun) == 1
        assert (late.status_code, of_the_protocol.status_code) == (503, 503)
        assert late.headers["retry-after"] == of_the_protocol.headers["retry-after"] == "1"
        assert late.json()["error"]["type"] == "LateAnswerError"
        assert "not classified within 0.2 s" in late.json()["error"]["message"]
        assert of_the_protocol.json() == {"error": late.json()["error"]["message"]}

    def test_a_default_that_is_not_there_is_told(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HUBSERVE_MODEL", "nosuch")
        with service_over(tmp_path) as url:
            store.publish(tiny_package().path)
            answer = httpx2.post(f"{url}/classify", content=noise())
        assert answer.status_code == 404
        assert "no 'nosuch'" in answer.json()["error"]["message"]
