"""Measures the latency of several formats of one model in turns (`measure_formats`), with a record for each format."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from hubserve.latency.package_calls import Call
from hubserve.timing import CallTimes, Clock, Percentile, TimingProtocol, percentile, time_in_turns

PERCENTS = (50.0, 90.0, 95.0, 99.0)
OLD_NAME = AliasChoices("format", "form")
"""JSON keys of the name of a format: reports that were written before the key was renamed have "form"."""


class FormatLatency(BaseModel):
    """Latency of one format. Each time is that of one call with one batch, in milliseconds.

    Attributes:
        format: Format that was measured: "eager" (PyTorch itself), "openvino", or a format of packages such as "onnx".
        device: Device that it ran on, "cpu" or "cuda".
        batch_size: Number of images in a call, or of rows for a model of other inputs.
        threads: Number of threads that a call may use.
        load_ms: Time to load the model from its file.
        first_call_ms: Time of the first call, which also compiles and allocates; it is not among the samples.
        warm_up_calls: Number of calls between the first one and the samples.
        warm_up_ended: "steady" if the times became steady, "cap" if warm-up ended at its largest number of calls before.
        stopped_by: "samples" if there were enough samples and the median was known precisely enough, or "max_seconds" if the
            time limit came first.
        n: Number of samples.
        min_ms: Smallest sample.
        mean_ms: Mean of the samples.
        sd_ms: Standard deviation of the samples.
        iqr_ms: Interquartile range of the samples.
        outliers: Number of samples that are more than 5 median absolute deviations away from the median.
        percentiles: Percentiles with upper bounds; both are None in those for which `n` is too small.
        images_per_second: Number of images, or rows, in a call divided by the mean time.
        drift: Median of the second half of the samples divided by that of the first half, minus 1; 0 is no drift.
        verdict: "stable", "noisy" or "unstable", by the interquartile range and the drift.
        samples_ms: All samples, in the order of measurement.
    """

    model_config = ConfigDict(frozen=True)

    format: str = Field(validation_alias=OLD_NAME)
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


def measure_formats(
    loaders: Mapping[str, Callable[[], Call]],
    batch: Any,
    *,
    batch_size: int,
    threads: int,
    protocol: TimingProtocol,
    clock: Clock = time.perf_counter,
) -> tuple[FormatLatency, ...]:
    """Loads several formats of a model, times them in turns, and returns one record for each, in the order of `loaders`.

    Args:
        loaders: Name of a format -> function that loads the format and returns its runner.
        batch: Argument of each call: preprocessed images, (n, 3, height, width) float32, or the inputs of another model.
        batch_size: Number of images, or rows of the inputs, in it.
        threads: Number of threads that the runners may use; it is recorded, but not set here.
        protocol: How many calls are measured, and for how long.
        clock: Clock that measures the calls.

    Raises:
        ProfileError: `protocol.percent` is not between 0 and 100.
        HubserveError: A function in `loaders`, or a runner, failed.
    """
    runners, load_ms = {}, {}
    for name, load in loaders.items():
        start = clock()
        runners[name] = load()
        load_ms[name] = (clock() - start) * 1e3
    # A call returns its outputs on the CPU, so a GPU has finished by then and no synchronisation is needed.
    calls = {name: (lambda runner=runner: runner(batch)) for name, runner in runners.items()}
    times = time_in_turns(calls, protocol, clock=clock)  # type: ignore[arg-type]
    percents = sorted({*PERCENTS, protocol.percent})
    return tuple(
        _record(name, runner.device, batch_size, threads, load_ms[name], times[name], percents)
        for name, runner in runners.items()
    )


def _record(
    name: str, device: str, batch_size: int, threads: int, load_ms: float, times: CallTimes, percents: list[float]
) -> FormatLatency:
    samples = times.samples
    mean, median = statistics.fmean(samples), statistics.median(samples)
    quartiles = statistics.quantiles(samples, n=4)
    deviation = statistics.median(abs(s - median) for s in samples)
    half = len(samples) // 2
    drift = statistics.median(samples[half:]) / statistics.median(samples[:half]) - 1
    return FormatLatency(
        format=name,
        device=device,
        batch_size=batch_size,
        threads=threads,
        load_ms=load_ms,
        first_call_ms=times.first_ms,
        warm_up_calls=len(times.warm_up),
        warm_up_ended=times.warm_up_ended,
        stopped_by=times.stopped_by,
        n=len(samples),
        min_ms=min(samples),
        mean_ms=mean,
        sd_ms=statistics.stdev(samples),
        iqr_ms=quartiles[2] - quartiles[0],
        outliers=sum(abs(s - median) > 5 * deviation for s in samples),
        percentiles=tuple(percentile(samples, percent) for percent in percents),
        images_per_second=batch_size / mean * 1e3,
        drift=drift,
        verdict=_verdict((quartiles[2] - quartiles[0]) / median, drift),
        samples_ms=tuple(samples),
    )


def _verdict(spread: float, drift: float) -> Literal["stable", "noisy", "unstable"]:
    """Returns the verdict on samples with a relative interquartile range `spread` and a drift `drift`.

    The bounds of the spread, 10 and 25 %, are those of the warnings of torch.utils.benchmark.
    """
    if spread > 0.25 or abs(drift) > 0.15:
        return "unstable"
    return "noisy" if spread > 0.10 or abs(drift) > 0.05 else "stable"
