"""Percentiles of latency that say how sure they are.

The sample rule is that of MLPerf Inference's early stopping: with n samples, the t-th largest is an upper bound of the
percentile with 99 % confidence, where t is the largest number of slower-than-bound samples that so many would rarely have by
luck. A percentile for which no t >= 1 exists is not estimated at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from hubserve.errors import ProfileError

CONFIDENCE = 0.99


class Percentile(BaseModel):
    """One percentile of a sample.

    Attributes:
        percent: for example 99.
        value: the sample's own percentile; None where the sample is too small.
        upper_bound: holds for the true percentile with 99 % confidence; None likewise.
        needs: samples that it takes at least.
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
    """Fewest samples that say anything of the percentile: 11 for 50, 64 for 90, 130 for 95, 662 for 99, 6,636 for 99.9."""
    if not 0 < percent < 100:
        raise ProfileError(f"percent = {percent} is not between 0 and 100: no number of samples bounds it")
    low, high = 1, 2
    while _allowed_slower(high, percent) < 1:
        low, high = high, high * 2
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _allowed_slower(middle, percent) >= 1 else (middle + 1, high)
    return low


def _allowed_slower(n: int, percent: float) -> int:
    """Largest t with P(at most t of n samples exceed the percentile) <= 1 - confidence; -1 where even t = 0 is too likely."""
    exceed = 1 - percent / 100
    total, t = 0.0, -1
    while t + 1 <= n:
        total += _binomial(n, t + 1, exceed)
        if total > 1 - CONFIDENCE:
            break
        t += 1
    return t


def _binomial(n: int, k: int, chance: float) -> float:
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(log + k * math.log(chance) + (n - k) * math.log1p(-chance))


def median_interval(ordered: Sequence[float]) -> tuple[float, float]:
    """Order statistics around the median that hold the true one with about 99 % confidence."""
    n = len(ordered)
    reach = math.ceil(2.576 * math.sqrt(n) / 2)
    return ordered[max(0, n // 2 - reach)], ordered[min(n - 1, n // 2 + reach)]
