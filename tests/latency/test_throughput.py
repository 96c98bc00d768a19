"""Throughput under other settings, on a clock of its own."""

from __future__ import annotations

import numpy as np
import pytest

from hubserve.errors import ProfileError
from hubserve.latency.profile_report import SweepPoint
from hubserve.latency.throughput import knee, sweep


class Machine:
    """Calls take 4 ms and 1 ms an image, shared by the threads of a call."""

    device, name = "cpu", "machine"

    def __init__(self):
        self.now = 0.0
        self.loaded = []

    def load(self, threads):
        self.loaded.append(threads)

        def run(batch):
            self.now += (0.004 + 0.001 * len(batch)) / threads
            return batch

        return run


def test_numbers():
    machine = Machine()
    found = sweep(
        "onnx",
        machine.load,
        lambda n: np.zeros((n, 1), np.float32),
        cores=3,
        seconds=0.1,
        batches=(1, 2, 8),
        clock=lambda: machine.now,
    )
    assert [p.p50_ms for p in found.by_batch] == pytest.approx([5, 6, 12])
    assert [p.images_per_second for p in found.by_batch] == pytest.approx([200, 333.33, 666.67], rel=1e-3)
    assert [(p.threads, p.p50_ms) for p in found.by_threads] == [
        (1, pytest.approx(5)),
        (2, pytest.approx(2.5)),
        (3, pytest.approx(5 / 3)),
    ]
    assert [p.sessions for p in found.by_sessions] == [1, 2, 3]
    assert found.knee_batch == 8
    assert machine.loaded.count(1) == 1 + 1 + 2, "each model beside another one is a model of its own"


@pytest.mark.parametrize(("rates", "batch"), [((100, 94, 90), 1), ((50, 96, 100), 2), ((50, 94, 100), 4), ((1, 1, 1), 1)])
def test_knee(rates, batch):
    points = [
        SweepPoint(batch_size=size, threads=1, sessions=1, n=5, p50_ms=1, images_per_second=rate)
        for size, rate in zip((1, 2, 4), rates, strict=True)
    ]
    assert knee(points) == batch


def test_a_failure_in_a_thread_is_reported():
    class Broken:
        def __init__(self):
            self.calls = 0

        def __call__(self, batch):
            self.calls += 1
            if self.calls > 25:
                raise ValueError("out of memory")
            return batch

    with pytest.raises(ValueError, match="out of memory"):
        sweep("onnx", lambda _: Broken(), lambda n: np.zeros((n, 1), np.float32), cores=2, seconds=1e-9, batches=(1, 2))


@pytest.mark.parametrize("wrong", [{"cores": 0}, {"batches": ()}, {"seconds": 0}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ProfileError, match="a sweep needs some of each"):
        sweep("onnx", lambda _: None, lambda _: None, **{"cores": 1, "seconds": 1.0, "batches": (1,), **wrong})
