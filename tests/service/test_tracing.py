"""A request's id in its answer, its log line and its span; spans of queue, decode and infer; the share that is traced."""

from __future__ import annotations

import itertools
import json
import logging
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx2
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from hubserve import store
from hubserve.service import tracing
from hubserve.service.json_log import JsonLineFormatter
from tests.images import noise
from tests.stores import service_over, small_package
from tests.waiting import until

TRACE_ID, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Lines(logging.Handler):
    """Keeps the lines of the log, as JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLineFormatter())
        self.lines: list[dict] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))


@contextmanager
def serving(home, monkeypatch, **settings: str):
    """A client of a service with these settings, the exporter of its spans, and the lines of its access log."""
    for name, value in settings.items():
        monkeypatch.setenv(f"HUBSERVE_{name}", value)
    exporter, lines = InMemorySpanExporter(), Lines()
    monkeypatch.setattr(tracing, "_otlp_processor", lambda: SimpleSpanProcessor(exporter))
    log = logging.getLogger("hubserve.access")
    log.addHandler(lines)
    level = log.level
    log.setLevel(logging.INFO)
    try:
        with service_over(home) as url, httpx2.Client(base_url=url, timeout=30) as client:
            store.publish(small_package().path, version="v1")
            until(lambda: client.get("/v2/health/ready").status_code == 200)
            exporter.clear()
            lines.lines.clear()
            yield client, exporter, lines.lines
    finally:
        log.removeHandler(lines)
        log.setLevel(level)


def test_an_id_is_in_the_answer_the_log_line_and_the_span(tmp_path, monkeypatch):
    with serving(tmp_path, monkeypatch, TRACING="1", LOG="json") as (client, exporter, lines):
        headers = {"X-Request-Id": "order-7", "traceparent": f"00-{TRACE_ID}-{CALLER}-01"}
        answer = client.post("/classify", content=noise(), headers=headers)
        assert answer.status_code == 200
        assert answer.headers["x-request-id"] == "order-7"
        until(lambda: len(exporter.get_finished_spans()) == 4 and len(lines) == 1)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {"POST /classify", "queue", "decode", "infer"}
    request = spans["POST /classify"]
    assert request.kind is SpanKind.SERVER
    assert f"{request.context.trace_id:032x}" == TRACE_ID
    assert f"{request.parent.span_id:016x}" == CALLER
    assert answer.headers["traceparent"] == f"00-{TRACE_ID}-{request.context.span_id:016x}-01"
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/classify",
        "http.response.status_code": 200,
        "hubserve.request_id": "order-7",
        "hubserve.model": "small:v1",
    }
    assert request.resource.attributes["service.name"] == "hubserve"
    steps = [spans[name] for name in ("queue", "decode", "infer")]
    assert all(step.parent.span_id == request.context.span_id for step in steps)
    times = [request.start_time, *(time for step in steps for time in (step.start_time, step.end_time)), request.end_time]
    slack = 2_000_000  # Nanoseconds: the two clocks are read one after the other.
    assert all(before <= after + slack for before, after in itertools.pairwise(times)), times
    assert spans["infer"].attributes == {"hubserve.batch_images": 1}
    (line,) = lines
    assert (line["request_id"], line["trace_id"]) == ("order-7", TRACE_ID)
    assert line["span_id"] == f"{request.context.span_id:016x}"
    assert (line["method"], line["path"], line["route"], line["status"]) == ("POST", "/classify", "/classify", 200)
    assert line["ms"] > 0


def test_an_error_is_in_the_span_of_its_step(tmp_path, monkeypatch):
    with serving(tmp_path, monkeypatch, TRACING="1") as (client, exporter, _):
        assert client.post("/classify", content=b"no image").status_code == 415
        until(lambda: len(exporter.get_finished_spans()) == 3)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {"POST /classify", "queue", "decode"}
    assert (spans["decode"].status.status_code, spans["decode"].status.description) == (StatusCode.ERROR, "ImageError")
    assert spans["queue"].status.status_code is StatusCode.UNSET
    assert spans["POST /classify"].status.status_code is StatusCode.UNSET, "it is the client's fault"


def test_the_share_is_kept_and_a_callers_decision_is_followed(tmp_path, monkeypatch):
    with serving(tmp_path, monkeypatch, TRACING="0.3") as (client, exporter, _):
        for flag in ("00", "01"):
            client.get("/v2", headers={"traceparent": f"00-{TRACE_ID}-{CALLER}-{flag}"})
        assert [span.name for span in exporter.get_finished_spans()] == ["GET /v2"]
        exporter.clear()
        # The lowest bit says whether it is traced.
        traced = sum(int(client.get("/v2").headers["traceparent"][-2:], 16) & 1 for _ in range(200))
        assert len(exporter.get_finished_spans()) == traced
        assert 20 <= traced <= 100, "60 of 200, give or take"


def test_by_default_there_are_no_spans_and_no_lines_but_ids(tmp_path, monkeypatch):
    with serving(tmp_path, monkeypatch) as (client, exporter, lines):
        trace = f"00-{TRACE_ID}-{CALLER}-01"
        answer = client.post("/classify", content=noise(), headers={"traceparent": trace})
        assert answer.headers["traceparent"] == trace
        assert len(answer.headers["x-request-id"]) == 32
        assert "traceparent" not in client.get("/v2").headers
        refused = client.get("/no/such", headers={"X-Request-Id": "mine"})
        assert (refused.status_code, refused.headers["x-request-id"]) == (404, "mine")
    assert not exporter.get_finished_spans()
    assert not lines


def test_a_missing_exporter_is_one_sentence(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(tracing.MissingExtraError, match=r"pip install 'hubserve\[traces\]'"):
        tracing.Tracing(1.0)


def test_spans_reach_a_collector_by_otlp(tmp_path, monkeypatch):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra `traces` is not installed")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    bodies: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    collector = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=collector.serve_forever)
    thread.start()
    monkeypatch.setenv("HUBSERVE_TRACING", "1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "cameras")
    try:
        with service_over(tmp_path) as url:
            store.publish(small_package().path, version="v1")
            assert httpx2.post(f"{url}/classify", content=noise(), timeout=30).status_code == 200
    finally:  # The end of the service has sent what waited.
        collector.shutdown()
        thread.join()
        collector.server_close()
    groups = [group for body in bodies for group in ExportTraceServiceRequest.FromString(body).resource_spans]
    assert {a.value.string_value for group in groups for a in group.resource.attributes if a.key == "service.name"} == {
        "cameras"
    }
    names = {span.name for group in groups for scope in group.scope_spans for span in scope.spans}
    assert {"POST /classify", "queue", "decode", "infer"} <= names
