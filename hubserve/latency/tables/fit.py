"""The little statistics of lookup tables: a fit without negative costs, and how good predictions are."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def fit_without_negatives(features: Numbers, target: Numbers) -> Numbers:
    """Coefficients >= 0 with the least relative squared error; a cost cannot be negative.

    Every subset of the few features is fitted, and the best one without a negative coefficient is kept: exact, where
    clipping the usual fit is not.

    Args:
        features: (n, k), k at most 8.
        target: (n,), above 0.
    """
    weighted = features / target[:, None]
    best, least = np.zeros(features.shape[1]), float("inf")
    for size in range(1, features.shape[1] + 1):
        for subset in map(list, itertools.combinations(range(features.shape[1]), size)):
            found, *_ = np.linalg.lstsq(weighted[:, subset], np.ones(len(target)), rcond=None)
            error = float(((weighted[:, subset] @ found - 1) ** 2).sum())
            if (found >= 0).all() and error < least - 1e-12:
                best, least = np.zeros(features.shape[1]), error
                best[subset] = found
    return best


def spearman(a: Numbers, b: Numbers) -> float:
    """Correlation of ranks, ties sharing theirs; nan where one of them never changes."""
    first, second = _ranks(a), _ranks(b)
    if first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Numbers) -> Numbers:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts).astype(np.float64)
    shared: Numbers = (last - (counts - 1) / 2)[inverse]
    return shared
