"""Metrics of each version: requests, errors by kind, durations, batches, confidence; and a bound on how many there are."""

from __future__ import annotations

import base64

import httpx2
import pytest
from prometheus_client import REGISTRY

from hubserve import store
from hubserve.service import model_metrics
from hubserve.service.model_metrics import OTHER, metrics_of
from tests.images import noise
from tests.stores import service_over, small_package


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.fixture
def few(monkeypatch):
    """At most three versions have metrics, and none has any yet."""
    monkeypatch.setattr(model_metrics, "MOST_MODELS", 3)
    monkeypatch.setattr(model_metrics, "_of_tags", model_metrics.OrderedDict())
    yield
    for numbers in model_metrics._of_tags.values():
        numbers.remove()


def test_what_a_request_counts(tmp_path):
    tag = "small:metrics"
    with service_over(tmp_path) as url:
        store.publish(small_package().path, version="metrics")
        texts = [base64.b64encode(data).decode() for data in (noise(), b"no image", noise(48))]
        answer = httpx2.post(f"{url}/classify", json={"images": texts}, timeout=30)
        best = answer.json()["results"][0]["predictions"][0]["probability"]
        assert httpx2.post(f"{url}/classify", content=noise(), timeout=30).status_code == 200
    assert value("hubserve_model_requests_total", model=tag) == 2
    assert value("hubserve_model_request_seconds_count", model=tag) == 2
    assert value("hubserve_model_images_total", model=tag) == 3
    assert value("hubserve_model_errors_total", model=tag, kind="ImageError") == 1
    assert [value("hubserve_model_step_seconds_count", model=tag, step=step) for step in ("queue", "decode", "infer")] == [
        4,
        4,
        3,
    ]
    assert value("hubserve_model_confidence_count", model=tag) == 3
    assert value("hubserve_model_confidence_sum", model=tag) == pytest.approx(2 * best, abs=1)
    assert value("hubserve_batch_images_sum", model=tag) == 3, "what could not be decoded is in no batch"
    assert value("hubserve_waiting_images") == 0


def test_the_version_not_used_for_the_longest_time_is_forgotten(few):
    for tag in ("a:1", "b:1", "c:1"):
        metrics_of(tag).note_error(ValueError())
    kept = metrics_of("a:1")
    metrics_of("d:1").note_error(ValueError())
    assert metrics_of("a:1") is kept
    assert value("hubserve_model_errors_total", model="a:1", kind="InternalError") == 1
    assert REGISTRY.get_sample_value("hubserve_model_errors_total", {"model": "b:1", "kind": "InternalError"}) is None
    assert REGISTRY.get_sample_value("hubserve_model_requests_total", {"model": "b:1"}) is None


def test_with_several_workers_further_versions_are_counted_together(few, monkeypatch, tmp_path):
    for tag in ("a:1", "b:1", "c:1"):
        metrics_of(tag)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    assert [metrics_of(tag).tag for tag in ("d:1", "e:1", "b:1")] == [OTHER, OTHER, "b:1"]
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
