"""Details of stored models: their test accuracy; and a process that counts and draws but writes nothing, as on a full disk."""

import subprocess
from dataclasses import replace

import httpx2
import numpy as np
import pytest

from hubserve import store
from hubserve.accuracy_from_logits import accuracy_report
from hubserve.errors import ModelNotFoundError
from hubserve.export.write_package import write_package
from hubserve.service import model_details
from tests.export.nets import small_source
from tests.stores import service_over, small_package, store_at


@pytest.mark.slow
def test_the_test_accuracy_of_a_model(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_DEVICE", "cpu")
    source, true = small_source("tested"), np.arange(70) % 7
    logits = np.random.default_rng(0).normal(size=(70, 7)) + 2 * np.eye(7)[true]
    report = accuracy_report(logits, true, source.labels, [f"{i}.png" for i in range(70)], dataset="mine", temperature=0.8)
    tested = write_package(replace(source, accuracy=report), tmp_path / "tested", formats=("onnx",))
    with store_at(tmp_path / "store"):
        store.publish(small_package().path)
        store.publish(tested.path)
    with service_over(tmp_path / "store") as url, httpx2.Client(base_url=url, timeout=60) as client:
        entries = {entry["tag"].split(":")[0]: entry for entry in client.get("/models").json()}
        assert entries["small"]["test"] is None
        figures = {
            name: report.model_dump(mode="json")[name] for name in ("images", "top1", "top1_interval", "calibration_error")
        }
        assert entries["tested"]["test"] == figures
        assert client.get("/models/tested/card").json()["test"] == figures
        assert client.get("/models/tested/accuracy").json() == report.model_dump(mode="json")
        answer = client.get("/models/small/accuracy")
        assert (answer.status_code, "has no test accuracy" in answer.text) == (404, True)


def test_a_worker_that_fails_is_not_started_at_each_request(tmp_path, monkeypatch):
    started, now = [], [1000.0]
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))

    def run(command, **_):
        started.append(command)
        return subprocess.CompletedProcess(command, 1, "", "no space is left")

    monkeypatch.setattr(model_details.subprocess, "run", run)
    monkeypatch.setattr(model_details.time, "monotonic", lambda: now[0])
    details = model_details.ModelDetails()
    with store_at(tmp_path / "store"):
        model = store.publish(small_package().path)
        for _ in range(20):
            with pytest.raises(ModelNotFoundError, match="has no drawing"):
                details.drawing_of(model)
        assert len(started) == 1
        now[0] += model_details.RETRY_SECONDS
        with pytest.raises(ModelNotFoundError):
            details.drawing_of(model)
    assert len(started) == 2
