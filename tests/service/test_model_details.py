"""Details of stored models where the process that counts and draws writes nothing, as on a full disk."""

import subprocess

import pytest

from hubserve import store
from hubserve.errors import ModelNotFoundError
from hubserve.service import model_details
from tests.stores import small_package, store_at


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
