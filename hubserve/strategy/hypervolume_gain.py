"""`hypervolume_gains`: by how much candidates would enlarge the hypervolume of known scores."""

import numpy as np
from numpy.typing import NDArray

from hubserve.strategy.optuna_internals import boxes_above

Numbers = NDArray[np.float64]

MARGIN = 0.1
"""How far the reference point is below the lowest scores, as a share of the range of the scores."""


def hypervolume_gains(candidates: Numbers, known: Numbers) -> Numbers:
    """Returns the hypervolume that each candidate, alone, adds to that of `known`, exactly; shape (candidates,).

    What `known` does not dominate is cut into boxes, each of which has a share of the gain (Lacour et al. 2017, "A box
    decomposition algorithm to compute the hypervolume indicator", https://arxiv.org/abs/1510.01963). Each objective is divided
    by the range of its known scores; the reference point is a tenth of the range below the lowest of them.

    Args:
        candidates: Scores of candidates, shape (candidates, objectives), with at least two objectives; more is better.
        known: Scores of the archs found so far, shape (archs, objectives), at least one arch.
    """
    lowest, highest = known.min(0), known.max(0)
    scale = np.where(highest > lowest, highest - lowest, 1)
    above = (candidates - lowest) / scale
    gains = np.zeros(len(candidates))
    for low, high in zip(*boxes_above((known - lowest) / scale, -MARGIN), strict=True):
        gains += np.prod(np.maximum(np.minimum(above, high) - low, 0), axis=1)
    return gains
