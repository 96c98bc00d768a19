"""Intervals, tests of pairs and ranks, against figures that were computed by hand or by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hubserve.comparison.paired_statistics import holm, mean_interval, mean_ranks, pair_tests


def test_holm_by_hand():
    # Sorted: .005 x 4, .01 x 3, .03 x 2, .04 x 1, and none below the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holm_lies_between_the_plain_values_and_bonferroni(p_values):
    found = holm(p_values)
    for plain, corrected in zip(p_values, found, strict=True):
        assert plain <= corrected <= min(1, plain * len(p_values))
    order = np.argsort(p_values)
    assert sorted(found) == [found[i] for i in order]


def test_the_interval_is_that_of_scipy():
    values = np.random.default_rng(0).normal(size=(12, 3))
    mean, low, high = mean_interval(values)
    for column in range(3):
        expected = stats.ttest_1samp(values[:, column], 0).confidence_interval(0.95)
        assert (low[column], high[column]) == pytest.approx((expected.low, expected.high))
    assert mean == pytest.approx(values.mean(axis=0))


def test_one_seed_has_no_interval():
    mean, low, high = mean_interval(np.ones((1, 2)))
    assert mean.tolist() == [1, 1]
    assert np.isnan(low).all()
    assert np.isnan(high).all()


def test_pairs():
    first, second = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), np.array([2.0, 4.0, 6.0, 8.0, 10.0, 6.0])
    test, same, _ = pair_tests([first, second, first])
    assert (test.first, test.second, test.lower, test.higher) == (0, 1, 5, 0)
    assert test.difference == pytest.approx(-2.5)
    assert test.p == pytest.approx(stats.wilcoxon(first, second).pvalue)
    assert test.p_holm == pytest.approx(min(1, 3 * test.p))
    assert (same.p, same.p_holm, same.difference, same.lower, same.higher) == (1, 1, 0, 0, 0)


def test_ranks_share_ties():
    values = [np.array([1.0, 5.0]), np.array([1.0, 4.0]), np.array([2.0, 3.0])]
    assert mean_ranks(values, lower_is_better=True).tolist() == [2.25, 1.75, 2.0]
    assert mean_ranks(values, lower_is_better=False).tolist() == [1.75, 2.25, 2.0]
