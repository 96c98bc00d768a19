"""Stratified splits: divides the indices of a data set into parts that hold the same share of every class."""

from collections.abc import Sequence
from random import Random

import numpy as np


def stratified(targets: Sequence[int], shares: Sequence[float], *, seed: int = 0) -> list[list[int]]:
    """Divides the indices of a data set into parts, each with its share of every class.

    Shares are rounded to whole items, so that a part may have no item of a small class.

    Args:
        targets: Class index of each item.
        shares: Share of every part but the last, each in [0, 1], their sum at most 1; the last part gets the rest.
        seed: Seed of the random draw that decides which items of a class go into which part.

    Returns:
        Sorted indices for each part, one part more than there are shares.
    """
    rng = Random(seed)
    parts: list[list[int]] = [[] for _ in range(len(shares) + 1)]
    classes = np.asarray(targets)
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label).tolist()
        rng.shuffle(members)
        borders = [0, *(round(len(members) * share) for share in np.cumsum(shares)), len(members)]
        for part, start, end in zip(parts, borders[:-1], borders[1:], strict=True):
            part.extend(members[start:end])
    return [sorted(part) for part in parts]
