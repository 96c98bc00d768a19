"""`PairProcess`, a Gaussian process over archs: Bayesian ridge regression over answers and pairs of answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, eigh, solve_triangular

from hubserve.strategy.arch_vectors import Vectors

Floats = NDArray[np.floating[Any]]
Numbers = NDArray[np.float64]

SINGLES = (0.9, 0.7, 0.5, 0.3, 0.1)
"""Shares of single answers in the prior variance, among which the likelihood chooses; the rest is of pairs."""

NOISES = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Variances of the noise, relative to the prior variance, among which the likelihood chooses."""

MOST_FOR_KERNEL = 200
"""Number of archs by which a kernel is chosen; of more, every second, third, ... is taken."""

BLOCK = 8192
"""Number of archs whose scores are predicted at a time, which bounds the memory."""


@dataclass(frozen=True)
class PairKernel:
    """The covariance of the scores of two archs, a polynomial of the inner product of their vectors.

    Attributes:
        singles: Share of the single answers in the variance, from 0 to 1; the rest is that of pairs of answers.
        noise: Variance of the noise of a score, relative to the variance of 1 of the polynomial.
    """

    singles: float
    noise: float

    @property
    def pairs(self) -> float:
        """Share of the pairs of answers in the variance, from 0 to 1."""
        return 1 - self.singles

    def __call__(self, alike: Floats) -> Floats:
        """Returns the covariances without noise, for any inner products, in [0, 1]; the constant 1 is the unknown mean."""
        covariances: Floats = 1 + alike * (self.singles + alike * self.pairs)
        return covariances

    @staticmethod
    def likeliest(vectors: Vectors, scores: Numbers) -> PairKernel:
        """Returns the kernel with the highest marginal likelihood of `scores`, standardized, shape (archs,), at `vectors`.

        Of more than `MOST_FOR_KERNEL` archs, only every second, third, ... is used.
        """
        every = -(-len(vectors) // MOST_FOR_KERNEL)
        vectors, scores = vectors[::every], scores[::every]
        alike = (vectors @ vectors.T).astype(float)
        kernels: list[tuple[float, PairKernel]] = []
        for singles in SINGLES:
            variances, basis = eigh(PairKernel(singles, 0)(alike), check_finite=False)
            squares = (basis.T @ scores) ** 2
            for noise in NOISES:
                total = np.maximum(variances, 0) + noise
                misfit = len(scores) * np.log(np.mean(squares / total) + 1e-12) + np.log(total).sum()
                kernels.append((misfit, PairKernel(singles, noise)))
        return min(kernels, key=lambda entry: entry[0])[1]


class PairProcess:
    """A Gaussian process with a `PairKernel`, given the scores of some archs.

    Args:
        vectors: Vectors of the archs, as `CountedVectors` makes them.
        scores: Their scores, standardized, shape (archs,).
        kernel: The kernel.
    """

    def __init__(self, vectors: Vectors, scores: Numbers, kernel: PairKernel) -> None:
        self._vectors = vectors
        self._scores = scores
        self._kernel = kernel
        covariances = kernel((vectors @ vectors.T).astype(float)) + kernel.noise * np.eye(len(vectors))
        self._factor = cho_factor(covariances, lower=True, check_finite=False)
        self._solved = cho_solve(self._factor, scores, check_finite=False)
        self._spread = max(float(scores @ self._solved) / len(scores), 1e-12) ** 0.5

    def predicted(self, vectors: Vectors) -> tuple[Numbers, Numbers]:
        """Returns the expected scores of archs, which are those of ridge regression, and their standard deviations.

        The noise is not among the deviations, which are more than 0. Both have the shape (archs,).
        """
        blocks = [self._predicted(vectors[start : start + BLOCK]) for start in range(0, len(vectors), BLOCK)]
        means, variances = (np.concatenate(columns).astype(float) for columns in zip(*blocks, strict=True))
        return means, self._spread * np.sqrt(np.maximum(variances, 1e-12))

    def _predicted(self, vectors: Vectors) -> tuple[Floats, Floats]:
        """Returns expected scores, and variances relative to the spread; in single precision, which is twice as fast."""
        covariances = self._kernel(vectors @ self._vectors.T)
        explained = solve_triangular(self._factor[0].astype(np.float32), covariances.T, lower=True, check_finite=False)
        variances = self._kernel((vectors**2).sum(axis=1)) - (explained**2).sum(axis=0)
        return covariances @ self._solved.astype(np.float32), variances

    def believing(self, vectors: Vectors) -> PairProcess:
        """Returns the process after archs have had the scores that this one expects of them."""
        expected, _ = self.predicted(vectors)
        return PairProcess(np.concatenate([self._vectors, vectors]), np.concatenate([self._scores, expected]), self._kernel)


def standardized(scores: Numbers) -> Numbers:
    """Returns scores with mean 0 and standard deviation 1, after low outliers were raised; all 0 if the scores are equal.

    Scores more than twice the distance of the quartiles below the median are raised to this bound: how bad a bad arch is says
    little about the good ones.
    """
    low, middle, high = np.percentile(scores, [25, 50, 75])
    raised = np.maximum(scores, middle - 2 * (high - low)) if high > low else scores
    spread = raised.std()
    found: Numbers = (raised - raised.mean()) / (spread if spread > 0 else 1)
    return found
