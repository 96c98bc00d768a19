"""The hypervolume that archs are expected to add."""

from __future__ import annotations

import numpy as np
import pytest

from hubserve.strategy.expected_gain import expected_gains
from hubserve.strategy.optuna_internals import hypervolume


@pytest.fixture(params=[1, 2, 3])
def known(request: pytest.FixtureRequest) -> np.ndarray:
    """Scores from 0 to 1 in each objective, shape (archs, objectives)."""
    objectives = request.param
    some = np.random.default_rng(objectives).random((10, objectives)) * 0.9
    return np.concatenate([some, np.zeros((1, objectives)), np.eye(objectives)])


def gained(known: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """The difference of hypervolumes that each candidate makes."""
    reference = [0.1] * known.shape[1]
    before = hypervolume(-known, reference)
    return np.array([hypervolume(-np.vstack([known, row]), reference) - before for row in candidates])


def test_gains_of_certain_scores_are_differences_of_hypervolumes(known):
    candidates = np.random.default_rng(7).random((30, known.shape[1])) * 1.3 - 0.15
    expected = gained(known, candidates)
    assert expected_gains(candidates, np.full_like(candidates, 1e-9), known) == pytest.approx(expected, abs=1e-8)
    assert 0 < sum(gain > 0 for gain in expected) < 30


def test_gains_of_uncertain_scores_are_means_over_what_they_may_be(known):
    rng = np.random.default_rng(8)
    means, deviations = rng.random((6, known.shape[1])), 0.4 + 0.3 * rng.random((6, known.shape[1]))
    drawn = np.stack([gained(known, rng.normal(means, deviations)) for _ in range(1500)])
    error = drawn.std(axis=0) / np.sqrt(len(drawn))
    assert (abs(expected_gains(means, deviations, known) - drawn.mean(axis=0)) < 4 * error).all()
    assert (error > 0).all()


def test_each_objective_counts_by_its_range():
    known, means = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.5, 0.5], [1.2, 0.2]])
    deviations = np.full((2, 2), 0.1)
    scaled = expected_gains(means * [1, 50] + [3, 0], deviations * [1, 50], known * [1, 50] + [3, 0])
    assert scaled == pytest.approx(expected_gains(means, deviations, known))


def test_an_arch_without_hope_has_no_gain():
    known = np.array([[0.0, 5.0], [1.0, 5.0]])
    gains = expected_gains(np.array([[1.0, 6.0], [1.0, 4.0]]), np.full((2, 2), 0.01), known)
    assert gains[0] > 0
    assert gains[1] == 0
