"""Measures the throughput of a model with several batch sizes, numbers of threads, and numbers of parallel models."""

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hubserve.errors import ProfileError
from hubserve.latency.package_calls import Call
from hubserve.latency.profile_report import Sweep, SweepPoint
from hubserve.timing import Clock, call_ms

BATCHES = (1, 2, 4, 8, 16, 32)
ENOUGH = 0.95
"""Share of the best throughput that the batch size returned by `knee` must reach."""
WARM_UP = 3
LEAST_CALLS = 5

Load = Callable[[int], Call]
"""Function that gets a number of threads and loads a model that may use that many."""


def sweep(
    format: str,
    load: Load,
    batch_of: Callable[[int], Any],
    *,
    cores: int,
    seconds: float,
    batches: Sequence[int] = BATCHES,
    clock: Clock = time.perf_counter,
) -> Sweep:
    """Measures the throughput of one format with several batch sizes, numbers of threads, and numbers of parallel models.

    Args:
        format: Name of the format, for the record.
        load: Function that gets a number of threads and loads a model that may use that many.
        batch_of: Function that gets a batch size and returns a batch of that many preprocessed images, or rows of inputs.
        cores: Largest number of threads, and of parallel models; at least 1.
        seconds: Seconds for each setting, above 0; at least `LEAST_CALLS` calls are made even if they take longer.
        batches: Batch sizes to measure, at least one.
        clock: Clock that measures the calls.

    Raises:
        ProfileError: `cores` is below 1, `batches` is empty, or `seconds` is not above 0.
    """
    if cores < 1 or not batches or not seconds > 0:
        raise ProfileError(f"cores = {cores}, batches = {tuple(batches)}, seconds = {seconds}: a sweep needs some of each")
    single = load(1)
    by_batch = [_point(single, batch_of(size), size, 1, seconds, clock) for size in batches]
    one = batch_of(1)
    by_threads = [_point(single if n == 1 else load(n), one, 1, n, seconds, clock) for n in _counts(cores)]
    by_sessions = [_side_by_side([single, *(load(1) for _ in range(n - 1))], one, seconds, clock) for n in _counts(cores)]
    return Sweep(
        format=format,
        by_batch=tuple(by_batch),
        by_threads=tuple(by_threads),
        by_sessions=tuple(by_sessions),
        knee_batch=knee(by_batch),
    )


def knee(points: Sequence[SweepPoint]) -> int:
    """Returns the smallest batch size in `points` with at least 95 % (`ENOUGH`) of the best throughput."""
    best = max(point.images_per_second for point in points)
    return min(point.batch_size for point in points if point.images_per_second >= ENOUGH * best)


def _counts(cores: int) -> list[int]:
    """Returns the powers of two up to `cores`, and `cores` itself, in ascending order."""
    return sorted({1 << i for i in range(cores.bit_length()) if 1 << i <= cores} | {cores})


def _point(runner: Call, batch: Any, size: int, threads: int, seconds: float, clock: Clock) -> SweepPoint:
    times = _calls(runner, batch, seconds, clock)
    return SweepPoint(
        batch_size=size,
        threads=threads,
        sessions=1,
        n=len(times),
        p50_ms=statistics.median(times),
        images_per_second=size / statistics.median(times) * 1e3,
    )


def _side_by_side(runners: Sequence[Call], one: Any, seconds: float, clock: Clock) -> SweepPoint:
    """Measures the throughput of several models in parallel, each called with `one` image or row by a thread of its own.

    The threads run in parallel because ONNX Runtime releases Python's global interpreter lock while it computes.
    """
    start_together = threading.Barrier(len(runners))

    def work(runner: Call) -> list[float]:
        start_together.wait()
        return _calls(runner, one, seconds, clock)

    with ThreadPoolExecutor(len(runners)) as threads:
        times = list(threads.map(work, runners))
    return SweepPoint(
        batch_size=1,
        threads=1,
        sessions=len(runners),
        n=sum(map(len, times)),
        p50_ms=statistics.median(t for each in times for t in each),
        images_per_second=sum(len(each) / sum(each) * 1e3 for each in times),
    )


def _calls(runner: Call, batch: Any, seconds: float, clock: Clock) -> list[float]:
    """Calls a model for `seconds`, but at least `LEAST_CALLS` times, after a warm-up; returns the milliseconds of each call."""
    for _ in range(WARM_UP):
        runner(batch)
    times: list[float] = []
    end = clock() + seconds
    while len(times) < LEAST_CALLS or clock() < end:
        times.append(call_ms(lambda: runner(batch), clock))
    return times
