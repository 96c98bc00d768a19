"""Whether the archs of a space can meet a limit on latency, predicted by a lookup table in seconds, before a search."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np
from scipy.stats import binomtest

from hubserve.errors import ProfileError
from hubserve.latency.tables.latency_table import LatencyTable
from hubserve.space import Arch, ModelSpace

QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)


@dataclass(frozen=True)
class Feasibility:
    """How hard a limit on latency is to meet in a space.

    Attributes:
        max_ms: Limit on the latency of a call, in ms.
        fastest: Arch with the least predicted latency that was found.
        fastest_ms: Predicted latency of that arch, in ms.
        drawn: Number of random archs that were predicted.
        quantiles: Share in (0, 1) -> latency in ms that this share of the random archs stays below.
        share: Share of the random archs, in [0, 1], that meet the limit.
        share_interval: 95 % confidence interval of that share in the whole space (Wilson).
        verdict: "yes"; "rarely" where fewer than 1 % of the random archs meet it; "no" where not even the fastest arch does.
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
    """Predicts random archs, then improves the fastest of them by changes of one choice at a time.

    Args:
        table: Lookup table of the space.
        space: Model space with its settings.
        max_ms: Limit on the latency of a call, in ms, above 0.
        archs: Number of random archs, at least 1.
        tries: Most changes that are tried on the fastest one.
        seed: Seed of the random archs.
        progress: Called with the number of archs that were predicted since the last call.

    Raises:
        ProfileError: `max_ms` or `archs` is out of range, or the table is of another space.
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
    interval = binomtest(meets, archs).proportion_ci(0.95, method="wilson")
    verdict = "no" if fastest_ms > max_ms else "rarely" if meets / archs < 0.01 else "yes"
    return Feasibility(
        max_ms=max_ms,
        fastest=fastest,
        fastest_ms=fastest_ms,
        drawn=archs,
        quantiles={q: float(np.quantile(times, q)) for q in QUANTILES},
        share=meets / archs,
        share_interval=(float(interval.low), float(interval.high)),
        verdict=verdict,
    )


def _downhill(
    table: LatencyTable, space: ModelSpace, start: tuple[float, Arch], rng: Random, tries: int, progress: Callable[[int], None]
) -> tuple[float, Arch]:
    """Takes each change that is faster; ends after as many failures in a row as there are candidates, or after `tries`."""
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
