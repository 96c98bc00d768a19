"""`expected_gains`: by how much archs with uncertain scores are expected to enlarge the hypervolume of known scores."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from hubserve.strategy.optuna_internals import boxes_above

Numbers = NDArray[np.float64]

MARGIN = 0.1
"""How far the reference point is below the lowest scores, as a share of the range of the scores."""

MOST_DEVIATIONS = 5
"""Number of deviations above their means at which scores still have to gain something, or their arch is skipped."""


def expected_gains(means: Numbers, deviations: Numbers, known: Numbers) -> Numbers:
    """Returns the hypervolume that each arch, alone, is expected to add to that of `known`; shape (archs,).

    The scores of an arch are independent and normally distributed. With one objective this is expected improvement (Jones,
    Schonlau and Welch 1998, "Efficient Global Optimization of Expensive Black-Box Functions", section 4.1,
    https://doi.org/10.1023/A:1008306431147), with several the expected hypervolume improvement (Emmerich, Giannakoglou and
    Naujoks 2006, "Single- and multiobjective evolutionary optimization assisted by Gaussian random field metamodels",
    https://doi.org/10.1109/TEVC.2005.859463). It is exact: what `known` does not dominate is cut into boxes, each of which has
    a share of the gain (Lacour et al. 2017, "A box decomposition algorithm to compute the hypervolume indicator",
    https://arxiv.org/abs/1510.01963). Only an arch that would gain nothing with scores five deviations above their means has no
    gain at all. Each objective is divided by the range of its known scores; the reference point is a tenth of the range below
    the lowest of them.

    Args:
        means: Expected scores, shape (archs, objectives); more is better.
        deviations: Their standard deviations, more than 0, of the same shape.
        known: Scores of the archs found so far, shape (known archs, objectives), at least one arch.
    """
    lowest, highest = known.min(0), known.max(0)
    scale = np.where(highest > lowest, highest - lowest, 1)
    means, deviations = (means - lowest) / scale, deviations / scale
    low, high = boxes_above((known - lowest) / scale, -MARGIN)
    hopeful = _reaches_a_box(means + MOST_DEVIATIONS * deviations, low)
    gains = np.zeros(len(means))
    gains[hopeful] = _sum_over_boxes(means[hopeful], deviations[hopeful], low, high)
    return gains


def _reaches_a_box(scores: Numbers, low: Numbers) -> NDArray[np.bool_]:
    reaches = np.zeros(len(scores), bool)
    for corner in low:
        reaches |= (scores > corner).all(axis=1)
    return reaches


def _sum_over_boxes(means: Numbers, deviations: Numbers, low: Numbers, high: Numbers) -> Numbers:
    """Returns the expected gains: over all boxes, the sum of the products of the expected lengths along each objective."""
    lengths = [_expected_lengths(*columns) for columns in zip(means.T, deviations.T, low.T, high.T, strict=True)]
    gains = np.zeros(len(means))
    for box in range(len(low)):
        gains += math.prod(length(box) for length in lengths)
    return gains


def _expected_lengths(mean: Numbers, deviation: Numbers, low: Numbers, high: Numbers) -> Callable[[int], Numbers]:
    """Returns a function of the number of a box: how much of it the scores are expected to cover along one objective."""
    # Boxes lie side by side: most bounds belong to several.
    bounds, places = np.unique(np.concatenate([low, high]), return_inverse=True)
    excess = np.stack([_expected_excess(mean, deviation, bound) for bound in bounds])
    return lambda box: excess[places[box]] - excess[places[len(low) + box]]


def _expected_excess(mean: Numbers, deviation: Numbers, bound: float) -> Numbers:
    """Returns by how much normally distributed scores are expected to exceed a bound, counting less as 0."""
    if np.isposinf(bound):
        return np.zeros_like(mean)
    above = (mean - bound) / deviation
    excess: Numbers = deviation * (above * ndtr(above) + np.exp(-(above**2) / 2) / np.sqrt(2 * np.pi))
    return excess
