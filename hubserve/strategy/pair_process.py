"""`PairProcess`, a Gaussian process over archs: Bayesian ridge regression over answers and pairs of answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, eigh

from hubserve.strategy.arch_vectors import Vectors

Numbers = NDArray[np.float64]

SINGLES = (0.9, 0.7, 0.5, 0.3, 0.1)
"""Shares of single answers in the prior variance, among which the likelihood chooses; the rest is of pairs."""

NOISES = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Variances of the noise, relative to the prior variance, among which the likelihood chooses."""

MOST_FOR_KERNEL = 200
"""Number of archs by which a kernel is chosen; of more, every second, third, ... is taken."""


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

    def __call__(self, alike: Numbers) -> Numbers:
        """Returns the covariances without noise, for any inner products, in [0, 1]; the constant 1 is the unknown mean."""
        covariances: Numbers = 1 + alike * (self.singles + alike * self.pairs)
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


@dataclass(frozen=True)
class ScoreFunction:
    """A score of archs: a constant, a linear and a quadratic function of their vectors, so of answers and pairs of answers.

    Attributes:
        constant: The constant.
        linear: Weights of the columns of a vector, shape (columns,).
        quadratic: Weights of the products of two columns, shape (columns, columns).
    """

    constant: float
    linear: Numbers
    quadratic: Numbers

    def __call__(self, vectors: Vectors) -> Numbers:
        """Returns the scores of archs."""
        weights = self.linear.astype(np.float32) + vectors @ self.quadratic.astype(np.float32)
        found: Numbers = self.constant + np.einsum("ac,ac->a", weights, vectors).astype(float)
        return found


class PairProcess:
    """A Gaussian process with a `PairKernel`, given the scores of some archs.

    Args:
        vectors: Vectors of the archs, as `CountedVectors` makes them.
        scores: Their scores, standardized, shape (archs,).
        kernel: The kernel.
    """

    def __init__(self, vectors: Vectors, scores: Numbers, kernel: PairKernel) -> None:
        self._vectors = vectors
        self._kernel = kernel
        covariances = kernel((vectors @ vectors.T).astype(float)) + kernel.noise * np.eye(len(vectors))
        self._factor = cho_factor(covariances, lower=True, check_finite=False)
        self._solved = cho_solve(self._factor, scores, check_finite=False)
        self._spread = max(float(scores @ self._solved) / len(scores), 1e-12) ** 0.5

    def mean(self) -> ScoreFunction:
        """Returns the expected score as a function of an arch: that of ridge regression."""
        return self._weighted(self._solved)

    def draw(self, rng: np.random.Generator) -> ScoreFunction:
        """Returns a function drawn from the process.

        One drawn from the prior is corrected by what it lacks at the known archs (Matheron's rule; Wilson et al. 2020,
        "Efficiently Sampling Functions from Gaussian Process Posteriors", section 3, https://arxiv.org/abs/2002.09309); this is
        exact.
        """
        columns = self._vectors.shape[1]
        prior = ScoreFunction(
            self._spread * rng.standard_normal(),
            self._spread * self._kernel.singles**0.5 * rng.standard_normal(columns),
            self._spread * self._kernel.pairs**0.5 * rng.standard_normal((columns, columns)),
        )
        noise = self._spread * self._kernel.noise**0.5 * rng.standard_normal(len(self._vectors))
        lacking = cho_solve(self._factor, prior(self._vectors) + noise, check_finite=False)
        change = self._weighted(self._solved - lacking)
        return ScoreFunction(prior.constant + change.constant, prior.linear + change.linear, prior.quadratic + change.quadratic)

    def _weighted(self, weights: Numbers) -> ScoreFunction:
        """Returns the sum of the covariances with the known archs, multiplied by a weight for each of these."""
        vectors = self._vectors.astype(float)
        pairs = vectors.T @ (weights[:, None] * vectors)
        return ScoreFunction(float(weights.sum()), self._kernel.singles * weights @ vectors, self._kernel.pairs * pairs)


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
