"""Versions that never end, in the store of a service: others answer, /models and /readyz say so, and deleting them helps."""

from __future__ import annotations

import os
import time
from pathlib import Path

import httpx2
import pytest

from hubserve import store
from hubserve.package import first_load
from tests import endless_onnx
from tests.images import photo
from tests.stores import service_over, small_package, store_at
from tests.waiting import until


@pytest.fixture(scope="module")
def endless(tmp_path_factory) -> Path:
    return endless_onnx.package_with(endless_onnx.loop(), tmp_path_factory.mktemp("endless") / "package")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "hubserve"))
    monkeypatch.setattr(first_load, "_known", set())
    monkeypatch.setattr("hubserve.service.service_state.START_SECONDS", 1.0)
    for name, value in {"THREADS": "1", "SESSION_THREADS": "1", "MAX_BATCH": "1", "RESOLVE_SECONDS": "0.05"}.items():
        monkeypatch.setenv(f"HUBSERVE_{name}", value)
    return tmp_path / "bentoml"


def publish(home: Path, package: Path, version: str) -> None:
    with store_at(home):
        store.publish(package, name="small", version=version)


def states(url: str) -> dict[str, str]:
    return {model["tag"]: model["state"] for model in httpx2.get(f"{url}/models", timeout=5).json()}


def working_processes() -> int:
    """Number of our processes that load a file for the first time."""
    found = 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            found += (
                f"\0{first_load.WORKER}\0".encode() in (entry / "cmdline").read_bytes()
                and int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]) == os.getpid()
            )
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_the_next_version_loads_meanwhile_and_deleting_helps(home, endless, monkeypatch):
    monkeypatch.setenv("HUBSERVE_LOAD_SECONDS", "300")
    publish(home, endless, "v1")
    with service_over(home) as url:
        start = time.monotonic()
        ready = httpx2.get(f"{url}/readyz", timeout=10)
        assert ready.status_code == 503
        assert ready.json()["error"]["type"] == "Loading"
        assert "loaded for the first time: small:v1 since" in ready.json()["error"]["message"]
        assert time.monotonic() - start < 5
        assert states(url) == {"small:v1": "loading"}
        publish(home, small_package().path, "v2")
        until(lambda: httpx2.get(f"{url}/v2/health/ready", timeout=10).status_code == 200, 20)
        # A newer one that does not end holds up nobody either.
        publish(home, endless, "v3")
        httpx2.get(f"{url}/v2/models/small/ready", timeout=10).raise_for_status()
        until(lambda: states(url).get("small:v3") == "loading", 10)
        answer = httpx2.post(f"{url}/classify", content=photo("chelsea"), timeout=10)
        assert answer.json()["model"] == "small:v2"
        assert working_processes() >= 1
        with store_at(home):
            for version in ("v1", "v3"):
                store.delete(f"small:{version}")
        until(lambda: not working_processes(), 10)
        assert states(url) == {"small:v2": "loaded"}


@pytest.mark.slow
def test_what_does_not_end_is_refused_with_its_reason(home, endless, monkeypatch):
    monkeypatch.setenv("HUBSERVE_LOAD_SECONDS", "4")
    publish(home, small_package().path, "v1")
    publish(home, endless, "v2")
    with service_over(home) as url:
        until(lambda: httpx2.get(f"{url}/v2/health/ready", timeout=10).status_code == 200, 20)
        until(lambda: states(url) == {"small:v1": "loaded", "small:v2": "refused"}, 20)
        (reason,) = (model["problem"] for model in httpx2.get(f"{url}/models").json() if model["state"] == "refused")
        assert "was not loaded and run within 4 s" in reason
        assert httpx2.post(f"{url}/classify?model=small:v2", content=photo("chelsea"), timeout=10).status_code == 409
        assert httpx2.post(f"{url}/classify", content=photo("chelsea"), timeout=10).json()["model"] == "small:v1"


def test_what_takes_too_much_memory_is_refused(home, tmp_path):
    publish(home, small_package().path, "v1")
    publish(home, endless_onnx.package_with(endless_onnx.large(4), tmp_path / "large"), "v2")
    before = _resident_mb()
    with service_over(home) as url:
        until(lambda: states(url) == {"small:v1": "loaded", "small:v2": "refused"}, 30)
        (reason,) = (model["problem"] for model in httpx2.get(f"{url}/models").json() if model["state"] == "refused")
        assert "takes more than the" in reason
    assert _resident_mb() - before < 1000


def test_a_known_model_starts_no_process(home, monkeypatch):
    publish(home, small_package().path, "v1")
    monkeypatch.setattr("hubserve.package.trust.was_written_here", lambda sha256: True)
    monkeypatch.setattr("hubserve.package.package.FirstLoad", None)  # Calling it would fail.
    with service_over(home) as url:
        assert httpx2.get(f"{url}/v2/health/ready", timeout=10).status_code == 200


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
