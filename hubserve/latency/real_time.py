"""`measure_real_time`: seconds of compute for a second of output, where an output has an axis along which time passes."""

import statistics
from collections.abc import Mapping
from functools import partial
from typing import Any

from hubserve.latency.package_calls import PackageCalls
from hubserve.latency.profile_report import RealTime, RealTimePoint
from hubserve.package.manifest import OutputEntry
from hubserve.timing import TimingProtocol, time_in_turns

SHARES = (0.25, 0.5, 1.0, 2.0)
"""Lengths of the inputs at which the factor is measured, as shares of those with which the rest of the profile is measured."""

PROTOCOL = TimingProtocol(percent=50.0, max_seconds=2.0, max_warm_up=40)
"""How long is measured, for all lengths together."""


def timed_output(outputs: tuple[OutputEntry, ...]) -> tuple[int, str] | None:
    """Returns the place of the first output that has an axis along which time passes, and that axis; None if there is none."""
    return next(((place, axis) for place, entry in enumerate(outputs) for axis in entry.seconds_per_step), None)


def measure_real_time(
    calls: PackageCalls, name: str, *, threads: int = 1, protocol: TimingProtocol = PROTOCOL
) -> RealTime | None:
    """Measures the real-time factor of a format against the lengths of the inputs, one row in a call.

    The values of the inputs are made up, and the duration of the output is that which the network gives: of random weights it
    says nothing about speech.

    Args:
        calls: Package and lengths of its profile.
        name: Format to measure.
        threads: Number of threads that a call may use.
        protocol: How many calls are measured, and for how long.

    Returns:
        The factors, or None if the outputs of the model have no axis along which time passes.

    Raises:
        HubserveError: The format cannot be loaded or run.
    """
    outputs = calls.package.manifest.outputs
    timed = timed_output(outputs)
    if timed is None:
        return None
    place, axis = timed
    call: Any = calls.load(name, threads)
    batches = {_key(lengths): (lengths, PackageCalls(calls.package, lengths).batch(1)) for lengths in _lengths(calls)}
    times = time_in_turns({key: partial(call, batch) for key, (_, batch) in batches.items()}, protocol)
    step, index = outputs[place].seconds_per_step[axis], outputs[place].shape.index(axis)
    points = []
    for key, (lengths, batch) in batches.items():
        seconds, median = call(batch)[place].shape[index] * step, statistics.median(times[key].samples)
        factor = median / 1e3 / seconds if seconds else None
        points.append(RealTimePoint(lengths=lengths, output_seconds=seconds, p50_ms=median, factor=factor))
    return RealTime(format=name, threads=threads, output=outputs[place].name, axis=axis, points=tuple(points))


def _key(lengths: Mapping[str, int]) -> str:
    return ", ".join(f"{axis} {length}" for axis, length in lengths.items())


def _lengths(calls: PackageCalls) -> list[dict[str, int]]:
    """Returns the lengths to measure with: shares of those of the profile, within those that are allowed, each once."""
    axes = calls.axes
    found: list[dict[str, int]] = []
    for share in SHARES:
        lengths = {}
        for axis, length in calls.lengths.items():
            smallest, largest = axes[axis]
            wanted = max(smallest, round(length * share))
            lengths[axis] = wanted if largest is None else min(wanted, largest)
        if lengths not in found:
            found.append(lengths)
    return found
