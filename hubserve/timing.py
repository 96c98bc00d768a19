"""Timing of calls: the timer (warm-up until steady, several things in turns), and percentiles that say how sure they are.

The sample rule of the percentiles is that of MLPerf Inference's early stopping: with n samples, the t-th largest is an upper
bound of the percentile with 99 % confidence, where t is the largest number of slower-than-bound samples that so many would
rarely have by luck. A percentile for which no t >= 1 exists is not estimated at all.
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
"""Calls of which the median is compared with that of as many before, during warm-up; and calls of a turn afterwards."""
STEADY = 0.02
"""Relative change of that median, and relative width of its confidence interval, below which it is called steady."""

Clock = Callable[[], float]
"""Returns seconds since some fixed moment."""


@dataclass(frozen=True)
class TimingProtocol:
    """How long to measure.

    Attributes:
        percent: Deepest percentile that is wanted, between 0 and 100; it decides how many samples are needed: 662 for 99.
        max_seconds: Seconds after which the measurement ends even without these samples, for all things together.
        max_warm_up: Calls after which the warm-up of one thing ends though it is not steady.
        seed: Seed of the order of the turns.
    """

    percent: float = 99.0
    max_seconds: float = 60.0
    max_warm_up: int = 200
    seed: int = 0


@dataclass
class CallTimes:
    """Times of repeated calls of one function, in milliseconds.

    Attributes:
        first_ms: Time of the very first call, which may compile and allocate; it is not among the samples.
        warm_up: Times of the calls before the samples, in order.
        warm_up_ended: "steady", or "cap" where `max_warm_up` calls did not make it so.
        samples: Times of the calls that count, in order.
        stopped_by: "samples" where the confidence interval of the median became narrow enough, "max_seconds" where the time
            limit came first.
    """

    first_ms: float
    warm_up: list[float] = field(default_factory=list)
    warm_up_ended: Literal["steady", "cap"] = "cap"
    samples: list[float] = field(default_factory=list)
    stopped_by: Literal["samples", "max_seconds"] = "max_seconds"


def call_ms(call: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Milliseconds that one call takes."""
    start = clock()
    call()
    return (clock() - start) * 1e3


def median_ms(call: Callable[[], object], *, warm_up: int = 3, calls: int = 15, clock: Clock = time.perf_counter) -> float:
    """Median milliseconds of some calls, after others that are not counted: a quick estimate, without a check of its noise."""
    for _ in range(warm_up):
        call()
    return statistics.median(call_ms(call, clock) for _ in range(calls))


def time_in_turns(
    calls: Mapping[str, Callable[[], object]], protocol: TimingProtocol, *, clock: Clock = time.perf_counter
) -> dict[str, CallTimes]:
    """Times several things. They take turns, in random order, so that whatever else the machine does affects all of them.

    Each is warmed up, and has at least one turn, however short `protocol.max_seconds` is.

    Args:
        calls: Name of a thing -> function that does it once.
        protocol: How long to measure.
        clock: Clock to measure by.

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
    """One percentile of a sample.

    Attributes:
        percent: Which percentile, between 0 and 100; 50 is the median.
        value: Percentile of the sample itself; None where the sample is too small.
        upper_bound: Bound that the true percentile does not exceed, with 99 % confidence; None where the sample is too small.
        needs: Smallest number of samples for which there is a value.
    """

    model_config = ConfigDict(frozen=True)

    percent: float
    value: float | None
    upper_bound: float | None
    needs: int


def percentile(samples: Sequence[float], percent: float) -> Percentile:
    """The percentile of `samples`, by the nearest rank, with its upper bound."""
    needs = samples_needed(percent)
    allowed = _allowed_slower(len(samples), percent)
    if allowed < 1:
        return Percentile(percent=percent, value=None, upper_bound=None, needs=needs)
    ordered = sorted(samples)
    rank = max(1, math.ceil(len(ordered) * percent / 100))
    return Percentile(percent=percent, value=ordered[rank - 1], upper_bound=ordered[len(ordered) - allowed], needs=needs)


def samples_needed(percent: float) -> int:
    """Fewest samples that bound a percentile: 11 for 50, 64 for 90, 130 for 95, 662 for 99, 6,636 for 99.9.

    Raises:
        ProfileError: `percent` is not between 0 and 100.
    """
    if not 0 < percent < 100:
        raise ProfileError(f"percent = {percent} is not between 0 and 100: no number of samples bounds it")
    # With as many samples, 10 are slower than the percentile in the mean, and hardly ever fewer than 2.
    enough = math.ceil(10 / (1 - percent / 100)) + 10
    return bisect_left(range(enough), True, lo=1, key=lambda n: _allowed_slower(n, percent) >= 1)


def _allowed_slower(n: int, percent: float) -> int:
    """Largest t with P(at most t of n samples exceed the percentile) <= 1 - confidence; -1 where even t = 0 is too likely."""
    from scipy.stats import binom  # Here, as it takes half a second that nothing but percentiles should cost.

    return int(binom.ppf(1 - CONFIDENCE, n, 1 - percent / 100)) - 1


def median_interval(ordered: Sequence[float]) -> tuple[float, float]:
    """Order statistics around the median that hold the true one with about 99 % confidence.

    By the normal limit of the binomial distribution, not by scipy: it is asked for between the turns of a measurement.
    """
    n = len(ordered)
    reach = math.ceil(2.576 * math.sqrt(n) / 2)
    return ordered[max(0, n // 2 - reach)], ordered[min(n - 1, n // 2 + reach)]
