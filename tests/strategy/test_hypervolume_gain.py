"""The hypervolume that a candidate adds."""

from __future__ import annotations

import numpy as np
import pytest

from hubserve.strategy.hypervolume_gain import hypervolume_gains
from hubserve.strategy.optuna_internals import hypervolume


@pytest.mark.parametrize("objectives", [2, 3])
def test_gains_are_differences_of_hypervolumes(objectives):
    rng = np.random.default_rng(objectives)
    known = np.concatenate([rng.random((10, objectives)), np.zeros((1, objectives)), np.eye(objectives)])
    candidates = rng.random((30, objectives)) * 1.3 - 0.15
    reference = [0.1] * objectives
    before = hypervolume(-known, reference)
    expected = [hypervolume(-np.vstack([known, row]), reference) - before for row in candidates]
    assert hypervolume_gains(candidates, known) == pytest.approx(expected, abs=1e-9)
    assert 0 < sum(gain > 0 for gain in expected) < 30


def test_each_objective_counts_by_its_range():
    known, candidates = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.5, 0.5], [1.2, 0.2]])
    scaled = hypervolume_gains(candidates * [1, 50] + [3, 0], known * [1, 50] + [3, 0])
    assert scaled == pytest.approx(hypervolume_gains(candidates, known))


def test_an_objective_without_a_range_is_left_as_it_is():
    assert hypervolume_gains(np.array([[1.0, 6.0], [1.0, 4.0]]), np.array([[0.0, 5.0], [1.0, 5.0]]))[1] == 0
