"""Throughput of a model with other batch sizes, with more threads in a call, and with several models side by side."""

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from hubserve.errors import ProfileError
from hubserve.latency.profile_report import Sweep, SweepPoint
from hubserve.package.runner import Batch, Runner
from hubserve.timing import Clock, call_ms

BATCHES = (1, 2, 4, 8, 16, 32)
ENOUGH = 0.95
"""Share of the best throughput that the knee must reach."""
WARM_UP = 3
LEAST_CALLS = 5

Load = Callable[[int], Runner]
"""Loads a model that may use so many threads."""


def sweep(
    format: str,
    load: Load,
    batch_of: Callable[[int], Batch],
    *,
    cores: int,
    seconds: float,
    batches: Sequence[int] = BATCHES,
    clock: Clock = time.perf_counter,
) -> Sweep:
    """Measures the throughput of one format under other settings.

    Args:
        format: Name of the format, for the record.
        load: Function from a number of threads to a loaded model.
        batch_of: Function from a size to a batch of prepared images.
        cores: Most threads, and most models side by side; at least 1.
        seconds: Seconds for each setting, above 0; some calls are made however long they take.
        batches: Batch sizes to try, at least one.
        clock: Clock to measure by.

    Raises:
        ProfileError: `cores`, `batches` or `seconds` is out of range.
    """
    if cores < 1 or not batches or not seconds > 0:
        raise ProfileError(f"cores = {cores}, batches = {tuple(batches)}, seconds = {seconds}: a sweep needs some of each")
    single = load(1)
    by_batch = [_point(single, batch_of(size), 1, seconds, clock) for size in batches]
    one = batch_of(1)
    by_threads = [_point(single if n == 1 else load(n), one, n, seconds, clock) for n in _counts(cores)]
    by_sessions = [_side_by_side([single, *(load(1) for _ in range(n - 1))], one, seconds, clock) for n in _counts(cores)]
    return Sweep(
        format=format,
        by_batch=tuple(by_batch),
        by_threads=tuple(by_threads),
        by_sessions=tuple(by_sessions),
        knee_batch=knee(by_batch),
    )


def knee(points: Sequence[SweepPoint]) -> int:
    """The smallest batch with nearly the best throughput."""
    best = max(point.images_per_second for point in points)
    return min(point.batch_size for point in points if point.images_per_second >= ENOUGH * best)


def _counts(cores: int) -> list[int]:
    """1, 2, 4, ... and `cores`."""
    return sorted({1 << i for i in range(cores.bit_length()) if 1 << i <= cores} | {cores})


def _point(runner: Runner, batch: Batch, threads: int, seconds: float, clock: Clock) -> SweepPoint:
    times = _calls(runner, batch, seconds, clock)
    return SweepPoint(
        batch_size=len(batch),
        threads=threads,
        sessions=1,
        n=len(times),
        p50_ms=statistics.median(times),
        images_per_second=len(batch) / statistics.median(times) * 1e3,
    )


def _side_by_side(runners: Sequence[Runner], batch: Batch, seconds: float, clock: Clock) -> SweepPoint:
    """Each model is called by a thread of its own; ONNX Runtime releases Python's lock while it computes."""
    start_together = threading.Barrier(len(runners))

    def work(runner: Runner) -> list[float]:
        start_together.wait()
        return _calls(runner, batch, seconds, clock)

    with ThreadPoolExecutor(len(runners)) as threads:
        times = list(threads.map(work, runners))
    return SweepPoint(
        batch_size=len(batch),
        threads=1,
        sessions=len(runners),
        n=sum(map(len, times)),
        p50_ms=statistics.median(t for each in times for t in each),
        images_per_second=sum(len(batch) * len(each) / sum(each) * 1e3 for each in times),
    )


def _calls(runner: Runner, batch: Batch, seconds: float, clock: Clock) -> list[float]:
    """Milliseconds of each call, after a warm-up."""
    for _ in range(WARM_UP):
        runner(batch)
    times: list[float] = []
    end = clock() + seconds
    while len(times) < LEAST_CALLS or clock() < end:
        times.append(call_ms(lambda: runner(batch), clock))
    return times
