"""Statistics of searches that are paired by seed: intervals, tests of each pair of strategies, and ranks."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from hubserve.comparison.benchmark_table import Floats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class PairTest:
    """How two strategies differ after a number of trials.

    Attributes:
        first: Index of one strategy.
        second: Index of the other one.
        difference: Mean over the seeds of the value of `first` minus that of `second`.
        low: Lower end of the 95 % interval of the difference; NaN for a single seed.
        high: Upper end of it; NaN for a single seed.
        lower: Number of seeds for which `first` has the lower value.
        higher: Number of seeds for which `first` has the higher value.
        p: p-value of Wilcoxon's signed-rank test, two-sided; 1 if no seed differs.
        p_holm: p-value corrected by Holm's method for the number of pairs.
    """

    first: int
    second: int
    difference: float
    low: float
    high: float
    lower: int
    higher: int
    p: float
    p_holm: float


def mean_interval(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Returns the mean and the ends of its 95 % interval by Student's t over the first axis, the seeds; NaN for one seed."""
    mean = values.mean(axis=0)
    if len(values) < 2:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    margin = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return mean, mean - margin, mean + margin


def pair_tests(values: Sequence[Floats]) -> list[PairTest]:
    """Returns a test of each pair of strategies, (0, 1) first, then (0, 2); p-values are corrected for the number of pairs.

    Args:
        values: For each strategy its value for each seed, shape (seeds,), the seeds in the same order.
    """
    pairs = list(itertools.combinations(range(len(values)), 2))
    differences = [values[first] - values[second] for first, second in pairs]
    p_values = [_wilcoxon(difference) for difference in differences]
    found = []
    for (first, second), difference, p, p_holm in zip(pairs, differences, p_values, holm(p_values), strict=True):
        mean, low, high = (float(value) for value in mean_interval(difference))
        lower, higher = int((difference < 0).sum()), int((difference > 0).sum())
        found.append(PairTest(first, second, mean, low, high, lower, higher, p, p_holm))
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values corrected for their number by Holm's step-down method.

    Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    order = np.argsort(p_values)
    scaled = np.array(p_values)[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(scaled))
    return [float(p) for p in corrected]


def mean_ranks(values: Sequence[Floats], *, lower_is_better: bool) -> Floats:
    """Returns the mean over the seeds of each strategy's rank: 1 is the best, and equal strategies share the mean rank."""
    sign = 1 if lower_is_better else -1
    return np.asarray(stats.rankdata(sign * np.stack(values), axis=0).mean(axis=1))


def _wilcoxon(difference: Floats) -> float:
    if not difference.any():
        return 1.0
    return float(stats.wilcoxon(difference, method="auto").pvalue)
