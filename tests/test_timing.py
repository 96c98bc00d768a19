"""The sample rule, against MLPerf's table and brute force."""

from __future__ import annotations

import math
from itertools import accumulate
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import ProfileError
from hubserve.timing import median_interval, percentile, samples_needed


@pytest.mark.parametrize(("percent", "needed"), [(50, 11), (90, 64), (95, 130), (99, 662), (99.9, 6636)])
def test_samples_needed_as_in_mlperf(percent, needed):
    assert samples_needed(percent) == needed


@pytest.mark.parametrize("percent", [0, 100, -1, 250])
def test_percentiles_lie_between_0_and_100(percent):
    with pytest.raises(ProfileError, match="not between 0 and 100"):
        samples_needed(percent)


def test_one_sample_less_says_nothing():
    assert percentile(range(663), 99).value is not None
    too_few = percentile(range(661), 99)
    assert (too_few.value, too_few.upper_bound, too_few.needs) == (None, None, 662)


@given(st.integers(11, 300), st.sampled_from([50.0, 90.0]))
def test_the_bound_is_the_order_statistic_of_the_rule(n, percent):
    found = percentile([float(i) for i in range(n)], percent)
    exceed = 1 - percent / 100

    chances = accumulate(math.comb(n, k) * exceed**k * (1 - exceed) ** (n - k) for k in range(n))
    allowed = max((t for t, chance in enumerate(chances) if chance <= 0.01), default=0)
    if allowed == 0:
        assert found.value is None
    else:
        assert found.upper_bound == n - allowed
        assert found.value == math.ceil(n * percent / 100) - 1
        assert found.upper_bound >= found.value


def test_the_bound_holds_in_99_of_100_experiments():
    rng = Random(0)
    true_p90 = -math.log(0.1)
    held = sum(percentile([rng.expovariate(1) for _ in range(100)], 90).upper_bound >= true_p90 for _ in range(1000))
    assert held >= 985


def test_the_interval_holds_the_median():
    rng = Random(0)
    held = 0
    for _ in range(500):
        low, high = median_interval(sorted(rng.random() for _ in range(101)))
        held += low <= 0.5 <= high
    assert held >= 485
