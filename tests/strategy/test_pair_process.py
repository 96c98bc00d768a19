"""The Gaussian process over answers and pairs of answers."""

from __future__ import annotations

import numpy as np
import pytest

from hubserve.strategy.pair_process import PairKernel, PairProcess, standardized


def one_hot(answers: np.ndarray, candidates: int) -> np.ndarray:
    """Vectors of archs of `answers.shape[1]` choices, as ArchVectors makes them."""
    vectors = np.concatenate([np.eye(candidates, dtype=np.float32)[column] for column in answers.T], axis=1)
    return vectors / np.float32(np.sqrt(answers.shape[1]))


def test_it_learns_a_pair_that_single_answers_do_not_show():
    answers = np.random.default_rng(0).integers(0, 2, (80, 4))
    vectors = one_hot(answers, 2)
    scores = standardized((answers[:, 0] ^ answers[:, 1]).astype(float))
    kernel = PairKernel.likeliest(vectors[:40], scores[:40])
    assert kernel.pairs > kernel.singles
    predicted = PairProcess(vectors[:40], scores[:40], kernel).predicted(vectors[40:])[0]
    assert np.corrcoef(predicted, scores[40:])[0, 1] > 0.95


@pytest.fixture(scope="module")
def process() -> tuple[PairProcess, np.ndarray, np.ndarray, np.ndarray]:
    """A process, its kernel matrix over all archs, the number of known ones and their scores."""
    rng = np.random.default_rng(1)
    vectors = one_hot(rng.integers(0, 3, (12, 4)), 3)
    scores = standardized(rng.standard_normal(8))
    return PairProcess(vectors[:8], scores, PairKernel(0.6, 0.3)), vectors, scores, PairKernel(0.6, 0.3)(vectors @ vectors.T)


def test_expected_scores_are_those_of_kernel_ridge_regression(process):
    gp, vectors, scores, covariances = process
    expected = covariances[:, :8] @ np.linalg.solve(covariances[:8, :8] + 0.3 * np.eye(8), scores)
    assert gp.predicted(vectors)[0] == pytest.approx(expected, abs=1e-5)


def test_deviations_are_those_of_the_process(process):
    gp, vectors, scores, covariances = process
    noisy = covariances[:8, :8] + 0.3 * np.eye(8)
    spread = scores @ np.linalg.solve(noisy, scores) / 8
    expected = spread * (covariances - covariances[:, :8] @ np.linalg.solve(noisy, covariances[:8]))
    assert gp.predicted(vectors)[1] ** 2 == pytest.approx(expected.diagonal(), abs=1e-5)


def test_a_believed_arch_is_less_uncertain_and_its_expected_score_stays(process):
    gp, vectors, _, _ = process
    before, after = gp.predicted(vectors[8:9]), gp.believing(vectors[8:9]).predicted(vectors[8:9])
    assert after[0] == pytest.approx(before[0])
    assert after[1][0] < 0.8 * before[1][0]


def test_low_outliers_are_raised():
    scores = standardized(np.array([0.0, 90.0, 91.0, 92.0, 93.0]))
    assert scores.mean() == pytest.approx(0)
    assert scores[1] - scores[0] < 3 * (scores[4] - scores[1])
    assert standardized(np.ones(3)).tolist() == [0, 0, 0]
