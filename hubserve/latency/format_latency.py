"""Latency, measured as an expert would: warm-up until it is steady, forms taken in turns, no percentile without its samples."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from pydantic import BaseModel, ConfigDict

from hubserve.package.runner import Batch, Runner
from hubserve.timing import Percentile, median_interval, percentile, samples_needed

PERCENTS = (50.0, 90.0, 95.0, 99.0)
WINDOW = 10
"""Calls of which the median is compared with that of as many before, during warm-up; and calls of a turn afterwards."""
STEADY = 0.02
"""Relative change of that median, and relative width of its confidence interval, below which we call it steady."""


@dataclass(frozen=True)
class Protocol:
    """How long to measure.

    Attributes:
        percent: deepest percentile that is wanted; 99 takes 662 samples.
        max_seconds: of measuring, for all forms together; what comes first ends it.
        max_warm_up: calls after which the warm-up ends though it is not steady.
        seed: of the order of turns.
    """

    percent: float = 99.0
    max_seconds: float = 60.0
    max_warm_up: int = 200
    seed: int = 0


class FormatLatency(BaseModel):
    """Latency of one form. Times are milliseconds for one call with one batch.

    Attributes:
        form: "eager", "torchscript" or "onnx".
        device: "cpu" or "cuda".
        batch_size: pictures of a call.
        threads: that a call may use.
        load_ms: from the file to a loaded model.
        first_call_ms: the first call, which also compiles and allocates; not among the samples.
        warm_up_calls: before the samples.
        warm_up_ended: "steady", or "cap" where it did not settle.
        stopped_by: "samples" once there were enough and the median was sure, or "max_seconds".
        n: samples.
        min_ms: fastest.
        mean_ms: average.
        sd_ms: standard deviation.
        iqr_ms: between the quartiles.
        outliers: samples further than 5 median absolute deviations from the median.
        percentiles: with upper bounds; None where n is too small.
        images_per_second: batch size over mean.
        drift: median of the second half over that of the first, minus 1.
        verdict: "stable", "noisy" or "unstable".
        samples_ms: all samples, in order.
    """

    model_config = ConfigDict(frozen=True)

    form: str
    device: str
    batch_size: int
    threads: int
    load_ms: float
    first_call_ms: float
    warm_up_calls: int
    warm_up_ended: Literal["steady", "cap"]
    stopped_by: Literal["samples", "max_seconds"]
    n: int
    min_ms: float
    mean_ms: float
    sd_ms: float
    iqr_ms: float
    outliers: int
    percentiles: tuple[Percentile, ...]
    images_per_second: float
    drift: float
    verdict: Literal["stable", "noisy", "unstable"]
    samples_ms: tuple[float, ...]


@dataclass
class _Run:
    """One form while it is being measured."""

    form: str
    runner: Runner
    load_ms: float
    first_call_ms: float = 0.0
    warm_up: list[float] = field(default_factory=list)
    warm_up_ended: Literal["steady", "cap"] = "cap"
    samples: list[float] = field(default_factory=list)

    def done(self, needed: int) -> bool:
        return len(self.samples) >= needed and _sure(self.samples)


def profile_runners(
    loaders: Mapping[str, Callable[[], Runner]],
    batch: Batch,
    *,
    threads: int,
    protocol: Protocol,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[FormatLatency, ...]:
    """Loads and measures several forms. They take turns, in random order, so that whatever else the machine does hits all."""
    runs = [_prepare(form, load, batch, protocol, clock) for form, load in loaders.items()]
    needed = samples_needed(protocol.percent)
    rng, end = Random(protocol.seed), clock() + protocol.max_seconds
    while clock() < end and not all(run.done(needed) for run in runs):
        for run in rng.sample(runs, len(runs)):
            run.samples.extend(_time(run.runner, batch, clock) for _ in range(WINDOW))
    return tuple(_report(run, len(batch), threads, protocol.percent) for run in runs)


def _prepare(form: str, load: Callable[[], Runner], batch: Batch, protocol: Protocol, clock: Callable[[], float]) -> _Run:
    start = clock()
    runner = load()
    run = _Run(form, runner, load_ms=(clock() - start) * 1e3)
    run.first_call_ms = _time(runner, batch, clock)
    while len(run.warm_up) < protocol.max_warm_up:
        run.warm_up.append(_time(runner, batch, clock))
        if _steady(run.warm_up):
            run.warm_up_ended = "steady"
            break
    # At least one turn, however short the time.
    run.samples.extend(_time(runner, batch, clock) for _ in range(WINDOW))
    return run


def _time(runner: Runner, batch: Batch, clock: Callable[[], float]) -> float:
    start = clock()
    # The logits come back as numpy on the CPU, so a GPU has finished too.
    runner(batch)
    return (clock() - start) * 1e3


def _steady(times: Sequence[float]) -> bool:
    if len(times) < 2 * WINDOW:
        return False
    before, last = statistics.median(times[-2 * WINDOW : -WINDOW]), statistics.median(times[-WINDOW:])
    return abs(last - before) <= STEADY * before


def _sure(samples: Sequence[float]) -> bool:
    ordered = sorted(samples)
    low, high = median_interval(ordered)
    return high - low <= 2 * STEADY * statistics.median(ordered)


def _report(run: _Run, batch_size: int, threads: int, wanted: float) -> FormatLatency:
    samples = run.samples
    mean, median = statistics.fmean(samples), statistics.median(samples)
    quartiles = statistics.quantiles(samples, n=4)
    deviation = statistics.median(abs(s - median) for s in samples)
    half = len(samples) // 2
    drift = statistics.median(samples[half:]) / statistics.median(samples[:half]) - 1
    return FormatLatency(
        form=run.form,
        device=run.runner.device,
        batch_size=batch_size,
        threads=threads,
        load_ms=run.load_ms,
        first_call_ms=run.first_call_ms,
        warm_up_calls=len(run.warm_up),
        warm_up_ended=run.warm_up_ended,
        stopped_by="samples" if run.done(samples_needed(wanted)) else "max_seconds",
        n=len(samples),
        min_ms=min(samples),
        mean_ms=mean,
        sd_ms=statistics.stdev(samples),
        iqr_ms=quartiles[2] - quartiles[0],
        outliers=sum(abs(s - median) > 5 * deviation for s in samples),
        percentiles=tuple(percentile(samples, percent) for percent in sorted({*PERCENTS, wanted})),
        images_per_second=batch_size / mean * 1e3,
        drift=drift,
        verdict=_verdict((quartiles[2] - quartiles[0]) / median, drift),
        samples_ms=tuple(samples),
    )


def _verdict(spread: float, drift: float) -> Literal["stable", "noisy", "unstable"]:
    """The bounds on the spread are those at which torch.utils.benchmark warns."""
    if spread > 0.25 or abs(drift) > 0.15:
        return "unstable"
    return "noisy" if spread > 0.10 or abs(drift) > 0.05 else "stable"
