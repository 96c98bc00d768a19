"""The latency profile: its numbers are those of its own samples, and its protocol ends as it says."""

from __future__ import annotations

import numpy as np
import pytest

from hubserve.latency.format_latency import measure_formats
from hubserve.timing import TimingProtocol


class Clocked:
    """A runner that takes as long as it is asked to, on a clock of its own."""

    name, device = "clocked", "cpu"

    def __init__(self, milliseconds):
        self.now = 0.0
        self.times = iter(milliseconds)
        self.calls = 0

    def __call__(self, batch):
        self.calls += 1
        self.now += next(self.times) / 1e3
        return batch

    def report(self, **protocol):
        (report,) = measure_formats(
            {"clocked": lambda: self},
            np.zeros((2, 1), np.float32),
            batch_size=2,
            threads=1,
            protocol=TimingProtocol(**protocol),
            clock=lambda: self.now,
        )
        return report


def steady(value=1.0):
    while True:
        yield value


class TestProtocol:
    def test_the_first_call_stands_apart(self):
        def times():
            yield 500.0
            yield from steady()

        report = Clocked(times()).report(percent=50)
        assert report.first_call_ms == pytest.approx(500)
        assert max(report.samples_ms) == pytest.approx(1)

    def test_warm_up_ends_when_it_is_steady(self):
        def times():
            yield 10.0
            yield from [5.0 - 0.1 * i for i in range(40)]
            yield from steady()

        report = Clocked(times()).report(percent=50)
        assert report.warm_up_ended == "steady"
        assert 50 <= report.warm_up_calls <= 70
        assert max(report.samples_ms) == pytest.approx(1)

    def test_warm_up_that_never_settles_has_a_cap(self):
        def times():
            value = 1.0
            while True:
                value *= 1.01
                yield value

        report = Clocked(times()).report(percent=50, max_warm_up=60, max_seconds=1)
        assert (report.warm_up_ended, report.warm_up_calls) == ("cap", 60)
        assert report.verdict != "stable"
        assert report.drift > 0.05

    @pytest.mark.parametrize(("percent", "least"), [(50, 11), (90, 64), (99, 662)])
    def test_stops_when_there_are_enough_samples(self, percent, least):
        report = Clocked(steady()).report(percent=percent)
        assert report.stopped_by == "samples"
        assert least <= report.n < least + 10
        assert report.verdict == "stable"

    def test_stops_by_time_and_then_prints_no_percentile_it_cannot_back(self):
        report = Clocked(steady(10.0)).report(percent=99, max_seconds=2)
        assert report.stopped_by == "max_seconds"
        assert report.n < 662
        by_percent = {p.percent: p for p in report.percentiles}
        assert by_percent[90].value == pytest.approx(10)
        assert by_percent[99].value is None
        assert by_percent[99].needs == 662

    def test_formats_take_turns(self):
        order = []

        class Noted(Clocked):
            def __call__(self, batch):
                order.append(self.label)
                return super().__call__(batch)

        runners = {}
        clock = Clocked(steady())
        for label in "ab":
            runner = Noted(steady())
            runner.label = label
            runners[label] = runner
        loaders = {label: (lambda r=r: r) for label, r in runners.items()}
        measure_formats(
            loaders,
            np.zeros((1, 1), np.float32),
            batch_size=1,
            threads=1,
            protocol=TimingProtocol(percent=90),
            clock=lambda: clock.now + sum(r.now for r in runners.values()),
        )
        turns = [order[i] for i in range(len(order) - 100, len(order), 10)]
        assert {tuple(sorted(turns[i : i + 2])) for i in range(0, 10, 2)} == {("a", "b")}
