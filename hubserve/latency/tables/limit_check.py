"""Can a limit on latency be met at all? Asked of a lookup table before a search starts, in seconds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np

from hubserve.errors import ProfileError
from hubserve.latency.tables.table import LatencyTable
from hubserve.space import Arch, ModelSpace

QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)


@dataclass(frozen=True)
class Feasibility:
    """What a limit means for a space.

    Attributes:
        max_ms: the limit.
        fastest: the arch with the least predicted latency that was found.
        fastest_ms: its prediction.
        drawn: random archs that were predicted.
        quantiles: share -> predicted ms that this share of random archs stays below.
        share: of random archs that meet the limit.
        share_interval: where the true share lies, with 95 % confidence (Wilson).
        verdict: "yes"; "rarely" below 1 % of random archs; "no" where not even the fastest found one meets it.
    """

    max_ms: float
    fastest: Arch
    fastest_ms: float
    drawn: int
    quantiles: dict[float, float]
    share: float
    share_interval: tuple[float, float]
    verdict: str


def feasibility(
    table: LatencyTable,
    space: ModelSpace,
    *,
    max_ms: float,
    archs: int = 200,
    tries: int = 300,
    seed: int = 0,
    progress: Callable[[int], None] = lambda count: None,
) -> Feasibility:
    """Predicts random archs, then goes downhill from the fastest of them, one choice at a time.

    Args:
        table: of the space.
        space: likewise.
        max_ms: the limit.
        archs: to draw.
        tries: most archs to look at on the way down.
        seed: of the draws.
        progress: told the number of archs that were looked at since the last time.

    Raises:
        ProfileError: a limit or number that means nothing, or a table of another space.
    """
    if not max_ms > 0 or archs < 1:
        raise ProfileError(f"max_ms = {max_ms}, archs = {archs}: the limit must be above 0, and at least one arch be drawn")
    rng = Random(seed)
    drawn = []
    for _ in range(archs):
        arch = space.random(rng)
        drawn.append((table.predict(space, arch), arch))
        progress(1)
    start = min(drawn, key=lambda pair: pair[0])
    fastest_ms, fastest = _downhill(table, space, start, rng, tries, progress)
    times = np.array([ms for ms, _ in drawn])
    meets = int((times <= max_ms).sum())
    verdict = "no" if fastest_ms > max_ms else "rarely" if meets / archs < 0.01 else "yes"
    return Feasibility(
        max_ms=max_ms,
        fastest=fastest,
        fastest_ms=fastest_ms,
        drawn=archs,
        quantiles={q: float(np.quantile(times, q)) for q in QUANTILES},
        share=meets / archs,
        share_interval=_wilson(meets, archs),
        verdict=verdict,
    )


def _downhill(
    table: LatencyTable,
    space: ModelSpace,
    start: tuple[float, Arch],
    rng: Random,
    tries: int,
    progress: Callable[[int], None],
) -> tuple[float, Arch]:
    """Neighbours that are faster are taken; ends after as many failures as there are answers, or after `tries`."""
    best_ms, best = start
    patience, failures = sum(choice.size for choice in space.choices.values()), 0
    for _ in range(tries):
        if failures >= patience:
            break
        arch = space.mutate(best, rng)
        ms = table.predict(space, arch)
        progress(1)
        failures = 0 if ms < best_ms else failures + 1
        best_ms, best = min((best_ms, best), (ms, arch), key=lambda pair: pair[0])
    return best_ms, best


def _wilson(hits: int, n: int) -> tuple[float, float]:
    z = 1.96
    share, spread = hits / n, z * math.sqrt(hits / n * (1 - hits / n) / n + z * z / (4 * n * n))
    middle, scale = share + z * z / (2 * n), 1 + z * z / n
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
