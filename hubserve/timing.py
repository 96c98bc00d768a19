"""Measures the times of repeated calls, with warm-up and in turns, and computes their percentiles with confidence bounds.

The bounds follow the early stopping rule of MLPerf Inference. With n samples, the t-th largest sample is an upper bound of a
percentile with 99 % confidence, where t is the largest number such that t or fewer of n samples exceed the true percentile
with a probability of at most 1 %. If t is below 1, there are too few samples and the percentile is not estimated.
"""

import math
import statistics
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from pydantic import BaseModel, ConfigDict

from hubserve.errors import ProfileError

CONFIDENCE = 0.99
WINDOW = 10
"""Number of calls whose median is compared with that of as many calls before them in warm-up; also the calls of a turn."""
STEADY = 0.02
"""Relative change of that median up to which warm-up ends, and relative half-width of the final median's interval."""

Clock = Callable[[], float]
"""Function that returns the seconds since some fixed moment."""


@dataclass(frozen=True)
class TimingProtocol:
    """How many calls are measured, and for how long.

    Attributes:
        percent: Highest percentile to estimate, in (0, 100); it decides the smallest number of samples that are enough, such
            as 662 for 99. More are measured until the interval of the median is narrow, too (see `STEADY`). `time_in_turns`
            raises ProfileError for other values.
        max_seconds: Seconds, for all functions together, after which measuring ends even if there are too few samples. Warm-up
            is not included.
        max_warm_up: Largest number of warm-up calls of each function, after which its warm-up ends though it is not steady.
        seed: Seed of the random order in which the functions take turns.
    """

    percent: float = 99.0
    max_seconds: float = 60.0
    max_warm_up: int = 200
    seed: int = 0


@dataclass
class CallTimes:
    """Times of repeated calls of one function, in milliseconds.

    Attributes:
        first_ms: Time of the very first call, which may compile and allocate; it is in neither list.
        warm_up: Times of the warm-up calls after the first one, in order.
        warm_up_ended: "steady" if the times became steady, "cap" if warm-up ended after `TimingProtocol.max_warm_up` calls.
        samples: Times of the calls after warm-up, in order.
        stopped_by: "samples" if there are enough samples for the percentile and the confidence interval of the median is
            narrow enough, "max_seconds" if the time limit was reached before.
    """

    first_ms: float
    warm_up: list[float] = field(default_factory=list)
    warm_up_ended: Literal["steady", "cap"] = "cap"
    samples: list[float] = field(default_factory=list)
    stopped_by: Literal["samples", "max_seconds"] = "max_seconds"


def call_ms(call: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Calls a function once and returns how many milliseconds it took."""
    start = clock()
    call()
    return (clock() - start) * 1e3


def median_ms(call: Callable[[], object], *, warm_up: int = 3, calls: int = 15, clock: Clock = time.perf_counter) -> float:
    """Returns the median time of `calls` calls in milliseconds, after `warm_up` calls that are not counted.

    This is a quick estimate; unlike `time_in_turns`, it does not check whether the times are steady.
    """
    for _ in range(warm_up):
        call()
    return statistics.median(call_ms(call, clock) for _ in range(calls))


def time_in_turns(
    calls: Mapping[str, Callable[[], object]], protocol: TimingProtocol, *, clock: Clock = time.perf_counter
) -> dict[str, CallTimes]:
    """Times several functions in turns and returns the times of each by name.

    The functions take turns of `WINDOW` calls in random order, so that other work on the machine affects all of them. Each is
    warmed up and gets at least one turn, however short `protocol.max_seconds` is.

    Args:
        calls: Name -> function to time.
        protocol: How many calls are measured, and for how long.
        clock: Clock that measures the calls.

    Raises:
        ProfileError: `protocol.percent` is not between 0 and 100.
    """
    needed = samples_needed(protocol.percent)
    found = {name: _warmed_up(call, protocol.max_warm_up, clock) for name, call in calls.items()}
    rng, end = Random(protocol.seed), clock() + protocol.max_seconds
    while clock() < end and not all(_enough(times.samples, needed) for times in found.values()):
        for name in rng.sample(list(calls), len(calls)):
            found[name].samples.extend(call_ms(calls[name], clock) for _ in range(WINDOW))
    for times in found.values():
        times.stopped_by = "samples" if _enough(times.samples, needed) else "max_seconds"
    return found


def _warmed_up(call: Callable[[], object], most: int, clock: Clock) -> CallTimes:
    times = CallTimes(first_ms=call_ms(call, clock))
    while len(times.warm_up) < most:
        times.warm_up.append(call_ms(call, clock))
        if _steady(times.warm_up):
            times.warm_up_ended = "steady"
            break
    times.samples.extend(call_ms(call, clock) for _ in range(WINDOW))
    return times


def _steady(times: Sequence[float]) -> bool:
    if len(times) < 2 * WINDOW:
        return False
    before, last = statistics.median(times[-2 * WINDOW : -WINDOW]), statistics.median(times[-WINDOW:])
    return abs(last - before) <= STEADY * before


def _enough(samples: Sequence[float], needed: int) -> bool:
    ordered = sorted(samples)
    low, high = median_interval(ordered)
    return len(samples) >= needed and high - low <= 2 * STEADY * statistics.median(ordered)


class Percentile(BaseModel):
    """One percentile, estimated from samples.

    Attributes:
        percent: Number of the percentile, in (0, 100); 50 is the median.
        value: Percentile of the samples; None if there are fewer samples than `needs`.
        upper_bound: Value that the true percentile does not exceed, with 99 % confidence; None if there are too few samples.
        needs: Smallest number of samples from which this percentile is estimated.
    """

    model_config = ConfigDict(frozen=True)

    percent: float
    value: float | None
    upper_bound: float | None
    needs: int


def percentile(samples: Sequence[float], percent: float) -> Percentile:
    """Estimates a percentile of `samples` by the nearest-rank method, with an upper bound at 99 % confidence.

    Args:
        samples: Measured values in any order.
        percent: Number of the percentile, in (0, 100).

    Raises:
        ProfileError: `percent` is not between 0 and 100.
    """
    needs = samples_needed(percent)
    allowed = _allowed_slower(len(samples), percent)
    if allowed < 1:
        return Percentile(percent=percent, value=None, upper_bound=None, needs=needs)
    ordered = sorted(samples)
    rank = max(1, math.ceil(len(ordered) * percent / 100))
    return Percentile(percent=percent, value=ordered[rank - 1], upper_bound=ordered[len(ordered) - allowed], needs=needs)


def samples_needed(percent: float) -> int:
    """Returns the smallest number of samples from which a percentile is estimated.

    It is 11 for 50, 64 for 90, 130 for 95, 662 for 99, and 6,636 for 99.9.

    Raises:
        ProfileError: `percent` is not between 0 and 100.
    """
    if not 0 < percent < 100:
        raise ProfileError(f"percent = {percent} is not between 0 and 100: no number of samples bounds it")
    # Among that many samples, more than 10 exceed the percentile on average, and fewer than 2 only with a chance below 1 %.
    enough = math.ceil(10 / (1 - percent / 100)) + 10
    return bisect_left(range(enough), True, lo=1, key=lambda n: _allowed_slower(n, percent) >= 1)


def _allowed_slower(n: int, percent: float) -> int:
    """Returns the largest t with P(at most t of n samples exceed the percentile) <= 1 %; -1 if that is not true of t = 0."""
    from scipy.stats import binom  # Imported here, as the import takes half a second and only percentiles need it.

    return int(binom.ppf(1 - CONFIDENCE, n, 1 - percent / 100)) - 1


def median_interval(ordered: Sequence[float]) -> tuple[float, float]:
    """Returns two of the samples between which the true median lies with about 99 % confidence.

    It is called between the turns of a measurement. Therefore the ranks come from the normal approximation of the binomial
    distribution, which is fast, and not from scipy.

    Args:
        ordered: Samples in ascending order, at least one.
    """
    n = len(ordered)
    reach = math.ceil(2.576 * math.sqrt(n) / 2)
    return ordered[max(0, n // 2 - reach)], ordered[min(n - 1, n // 2 + reach)]
