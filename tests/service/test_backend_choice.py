"""HUBSERVE_BACKEND=auto: the faster one of ONNX Runtime and OpenVINO, measured once, and shown."""

from __future__ import annotations

import json
from types import SimpleNamespace

import httpx2
import pytest
from prometheus_client import REGISTRY

from hubserve import store
from hubserve.errors import ExportError
from hubserve.service import backend_choice
from hubserve.service.backend_choice import load_fastest
from hubserve.service.concurrency_tuning import Concurrency
from hubserve.service.engine import Engine
from tests.images import noise
from tests.stores import service_over, small_package, store_at

SETTING = Concurrency(threads=1, max_batch=1)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def speeds(monkeypatch):
    """Images a second of each backend, and the backends in the order in which they are measured."""
    found = SimpleNamespace(onnx=100.0, openvino=100.0, measured=[])

    def images_per_second(engine, setting, image, *, seconds):
        found.measured.append(engine.backend)
        return getattr(found, engine.backend)

    monkeypatch.setattr(backend_choice, "images_per_second", images_per_second)
    monkeypatch.setattr(backend_choice, "find_spec", lambda name: object())
    return found


@pytest.fixture
def load():
    """Loads engines that do nothing; `broken` ones cannot be loaded."""
    state = SimpleNamespace(broken=(), loaded=[])

    def engine(backend):
        if backend in state.broken:
            raise ExportError("no such operator")
        state.loaded.append(backend)
        return SimpleNamespace(backend=backend, warm_up=lambda sizes: None)

    state.engine = engine
    return state


@pytest.mark.parametrize(("openvino", "chosen"), [(90.0, "onnx"), (104.0, "onnx"), (106.0, "openvino")])
def test_the_clearly_faster_one_is_chosen_and_kept(home, speeds, load, openvino, chosen):
    speeds.openvino = openvino
    assert load_fastest("model", load.engine, SETTING).backend == chosen
    assert speeds.measured == ["onnx", "openvino"] * 4
    speeds.measured.clear()
    load.loaded.clear()
    assert load_fastest("model", load.engine, SETTING).backend == chosen
    assert (load.loaded, speeds.measured) == ([chosen], []), "neither measured nor loaded again"
    (kept,) = json.loads((home / "backends.json").read_text()).values()
    assert kept == {"backend": chosen, "images_per_second": {"onnx": 100.0, "openvino": openvino}}


def test_each_model_and_setting_has_its_own(home, speeds, load):
    speeds.openvino = 200.0
    load_fastest("one", load.engine, SETTING)
    speeds.openvino = 50.0
    assert load_fastest("two", load.engine, SETTING).backend == "onnx"
    assert load_fastest("one", load.engine, Concurrency(threads=2)).backend == "onnx"
    assert load_fastest("one", load.engine, SETTING).backend == "openvino"


def test_what_openvino_cannot_load_onnx_runs(home, speeds, load, caplog):
    load.broken = ("openvino",)
    assert load_fastest("model", load.engine, SETTING).backend == "onnx"
    assert "openvino cannot be: no such operator" in caplog.text
    assert speeds.measured == []
    assert not (home / "backends.json").exists(), "it is tried again at the next start"


def test_one_that_was_chosen_and_cannot_be_loaded_any_more(home, speeds, load):
    speeds.openvino = 200.0
    load_fastest("model", load.engine, SETTING)
    load.broken = ("openvino",)
    assert load_fastest("model", load.engine, SETTING).backend == "onnx"


def test_what_onnx_cannot_load_is_refused(home, speeds, load):
    load.broken = ("onnx", "openvino")
    with pytest.raises(ExportError, match="no such operator"):
        load_fastest("model", load.engine, SETTING)


def test_a_corrupt_file_is_replaced(home, speeds, load):
    (home / "backends.json").write_text('{"model": ')
    load_fastest("model", load.engine, SETTING)
    assert len(json.loads((home / "backends.json").read_text())) == 1


def test_nothing_is_measured_without_openvino_or_on_a_gpu(home, speeds, load, monkeypatch):
    monkeypatch.setattr(backend_choice, "cuda_available", lambda: True)
    assert load_fastest("model", load.engine, SETTING, device="auto").backend == "onnx"
    monkeypatch.setattr(backend_choice, "find_spec", lambda name: None)
    assert load_fastest("model", load.engine, SETTING).backend == "onnx"
    assert (load.loaded, speeds.measured) == (["onnx"] * 2, [])


def test_a_server_shows_what_runs_its_model(tmp_path, speeds, monkeypatch):
    pytest.importorskip("openvino", reason="openvino is not installed: pip install 'hubserve[openvino]'")
    speeds.openvino = 200.0
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "hubserve"))
    for name, value in {"backend": "auto", "threads": "1", "session_threads": "1", "max_batch": "1"}.items():
        monkeypatch.setenv(f"HUBSERVE_{name.upper()}", value)
    with store_at(tmp_path / "bentoml"):
        store.publish(small_package().path, version="v1")
    with service_over(tmp_path / "bentoml") as url:
        answer = httpx2.post(f"{url}/classify", content=noise(), timeout=60).json()
        (entry,) = httpx2.get(f"{url}/models").json()
        assert httpx2.get(f"{url}/v2/models/small/config").json()["backend"] == "openvino"
    assert entry["backend"] == "openvino"
    assert REGISTRY.get_sample_value("hubserve_model_backend", {"model": "small:v1", "backend": "openvino"}) == 1.0
    right = Engine(small_package(), device="cpu").classify(noise()).predictions
    assert [found["label"] for found in answer["predictions"]] == [one.label for one in right]
