"""The comparison of two measurements: right where the answer is known, and silent where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from hubserve.errors import ProfileError
from hubserve.latency.compare import compare_samples


def calm(n=400, median=10.0, seed=0):
    """Log-normal, 3 % wide, as a quiet machine gives."""
    return median * np.exp(0.03 * np.random.default_rng(seed).standard_normal(n))


@pytest.mark.parametrize(
    ("b", "verdict"),
    [
        (calm(seed=1), "no difference"),
        (calm(median=10.1, seed=1), "no difference"),
        (calm(median=10.8, seed=1), "slower"),
        (calm(median=9.3, seed=1), "faster"),
    ],
)
def test_known_answers(b, verdict):
    found = compare_samples(calm(), b)
    assert found.verdict == verdict
    assert found.low <= found.ratio <= found.high
    assert found.ratio == pytest.approx(np.median(b) / np.median(calm()))


def test_what_is_worth_telling():
    slower = calm(median=10.8, seed=1)
    assert compare_samples(calm(), slower, smallest=0.1).verdict == "no difference"
    assert compare_samples(calm(), slower, smallest=0.0).verdict == "slower"


def test_the_interval_holds_the_truth():
    """Of 60 pairs without a difference, at 99 % none or one may be told apart."""
    wrong = sum(
        compare_samples(calm(200, seed=2 * i), calm(200, seed=2 * i + 1), smallest=0.0).verdict != "no difference"
        for i in range(60)
    )
    assert wrong <= 2


def test_other_work_that_lasts_for_turns_is_no_difference():
    """The machine is slow for whole turns of ten calls; one by one, the samples would look like 400 independent ones."""

    def busy_machine(seed):
        rng = np.random.default_rng(seed)
        return np.repeat(10 * np.exp(0.2 * rng.standard_normal(40)), 10) + rng.normal(0, 0.01, 400)

    verdicts = [compare_samples(busy_machine(2 * i), busy_machine(2 * i + 1)).verdict for i in range(20)]
    assert verdicts.count("no difference") >= 19
    told = [mannwhitneyu(busy_machine(2 * i), busy_machine(2 * i + 1)).pvalue < 0.01 for i in range(20)]
    assert sum(told) > 5, "the rank test alone is fooled"


@pytest.mark.parametrize(
    ("shift", "digits", "expected"),
    [
        (0.0, 6, 0.991600904929549),
        (0.02, 1, 0.5890949809855),
        (0.1, 6, 0.012304238697),
        (0.1, 1, 0.0150511491351),
    ],
)
def test_p_is_the_same_as_without_scipy(shift, digits, expected):
    """The expected values are those of our own rank test, which scipy's replaced; with one digit there are many ties."""
    rng = np.random.default_rng(5)
    a, b = rng.normal(1, 0.2, 80).round(digits), rng.normal(1 + shift, 0.3, 60).round(digits)
    assert compare_samples(a, b).p_value == pytest.approx(expected, rel=1e-9)


def test_samples_that_are_all_the_same():
    assert compare_samples([1.0] * 50, [1.0] * 50).verdict == "no difference"
    assert compare_samples([1.0] * 50, [2.0] * 50).verdict == "slower"


def test_too_few_samples_say_so():
    with pytest.raises(ProfileError, match="B has 39 samples of onnx; 40 are needed: measure longer"):
        compare_samples(calm(40), calm(39), format="onnx")
