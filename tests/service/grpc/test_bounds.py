"""What bounds calls over gRPC that come at once: bytes, messages, images, calls, and callers that have gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import grpc
import httpx2
import pytest
from prometheus_client import REGISTRY

from hubserve.service.engine import Engine
from hubserve.service.grpc.messages import MESSAGES, SERVICE
from tests.images import noise
from tests.waiting import until

Code = grpc.StatusCode
PADDING = 100_000
"""Bytes after the end of a PNG file, which decoders do not read."""


@pytest.fixture(scope="module")
def tight(serve_both):
    """One thread, two images that wait or are at work, four calls, and room for one large message but not for two."""
    limits = {"MAX_BODY_MB": "0.2", "MAX_PENDING_MB": "0.3", "MAX_WAITING": "2", "MAX_CONNECTIONS": "4", "BODY_SECONDS": "1.5"}
    return serve_both(THREADS="1", SESSION_THREADS="1", MAX_BATCH="1", **limits)


@pytest.fixture
def channel(tight):
    with grpc.insecure_channel(tight.grpc) as channel:
        grpc.channel_ready_future(channel).result(20)
        yield channel


def infer(channel: grpc.Channel, padding: int = 0) -> grpc.Future:
    """A call that classifies an image."""
    image = noise() + b"\0" * padding
    request = MESSAGES["ModelInferRequest"](model_name="small")
    request.inputs.add(name="pictures", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(len(image).to_bytes(4, "little") + image)
    return channel.unary_unary(SERVICE + "ModelInfer").future(request.SerializeToString(), timeout=30)


def never(end: threading.Event) -> Iterator[bytes]:
    """A message that does not come before `end`."""
    end.wait(30)
    yield b""


@contextmanager
def busy(monkeypatch) -> Iterator[SimpleNamespace]:
    """Inside, each image is at work until `go_on` is set; `begun` counts them."""
    state, prepare = SimpleNamespace(begun=0, go_on=threading.Event()), Engine.prepare

    def slow(engine, data, **options):
        state.begun += 1
        assert state.go_on.wait(30)
        return prepare(engine, data, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "prepare", slow)
        try:
            yield state
        finally:
            state.go_on.set()


def test_images_that_wait(channel, tight, monkeypatch):
    with busy(monkeypatch) as state:
        first, second = infer(channel), infer(channel)
        until(lambda: REGISTRY.get_sample_value("hubserve_waiting_images") == 2)
        third = infer(channel)
        assert third.code() is Code.UNAVAILABLE
        assert "2" in third.details()
        assert httpx2.post(f"{tight.url}/classify", content=noise()).status_code == 503
        state.go_on.set()
        assert all(call.result() for call in (first, second))
    assert infer(channel).result()


def test_bytes_that_are_held(channel, monkeypatch):
    with busy(monkeypatch) as state:
        first = infer(channel, 2 * PADDING - 50_000)
        until(lambda: state.begun == 1)
        second = infer(channel, 2 * PADDING - 40_000)
        assert second.code() is Code.UNAVAILABLE
        assert "bytes" in second.details()
        state.go_on.set()
        assert first.result()
    assert infer(channel, 2 * PADDING - 40_000).result()


def test_messages_that_are_received_at_once(channel):
    """One here: the next one waits until it is there, or its time is over."""
    hold = threading.Event()

    stalled = channel.stream_unary(SERVICE + "ModelInfer").future(never(hold), timeout=30)
    until(lambda: stalled.running())
    time.sleep(0.5)  # The stalled call's time has to be over before that of the one that waits.
    waiting = infer(channel)
    assert waiting.result()
    assert stalled.code() is Code.DEADLINE_EXCEEDED
    hold.set()


def test_calls_at_once(channel):
    hold = threading.Event()

    calls = [channel.stream_unary(SERVICE + "ModelInfer").future(never(hold), timeout=30) for _ in range(6)]
    until(lambda: sum(call.done() for call in calls) >= 2)
    refused = [call for call in calls if call.done() and call.code() is Code.RESOURCE_EXHAUSTED]
    hold.set()
    assert len(refused) == 2
    for call in calls:
        call.cancel()
    # The server may not have noticed yet that they are gone.
    until(lambda: infer(channel).code() is Code.OK)


def test_a_caller_that_has_gone(channel, monkeypatch):
    """Its image, which waits, is never prepared."""
    with busy(monkeypatch) as state:
        first = infer(channel)
        until(lambda: state.begun == 1)
        second = infer(channel)
        until(lambda: REGISTRY.get_sample_value("hubserve_waiting_images") == 2)
        second.cancel()
        until(lambda: second.cancelled())
        kind = {"model": "small:v1", "kind": "Cancelled"}
        until(lambda: (REGISTRY.get_sample_value("hubserve_model_errors_total", kind) or 0) >= 1)
        state.go_on.set()
        assert first.result()
    assert infer(channel).result()
    assert state.begun == 1
