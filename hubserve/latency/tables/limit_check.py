"""Checks before a search whether archs of a space can meet a limit on latency, by predictions of a lookup table."""

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
    """Result of `feasibility`: how many archs of a space meet a limit on latency.

    Attributes:
        max_ms: Limit on the latency of a call, in milliseconds.
        fastest: Arch with the lowest predicted latency that was found.
        fastest_ms: Predicted latency of `fastest`, in milliseconds.
        drawn: Number of random archs whose latency was predicted.
        quantiles: Quantiles of the latency of the random archs in milliseconds, by the share of archs in (0, 1) below them.
        share: Share of the random archs that meet the limit, in [0, 1].
        share_interval: Lower and upper end of the 95 % Wilson confidence interval of that share in the whole space.
        verdict: "no" if not even `fastest` meets the limit, "rarely" if it does but fewer than 1 % of the random archs do,
            otherwise "yes".
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
    """Predicts the latency of random archs and searches for a fast one, to see whether a limit can be met.

    The fastest random arch is improved by mutations, of which those that are faster are kept.

    Args:
        table: Lookup table of the space.
        space: Model space with its settings.
        max_ms: Limit on the latency of a call, in milliseconds, above 0.
        archs: Number of random archs, at least 1.
        tries: Largest number of mutations to try.
        seed: Seed of the random archs and mutations.
        progress: Function that is called with the number of archs predicted since its last call.

    Raises:
        ProfileError: `max_ms` is not above 0, `archs` is below 1, or the table is empty, of another space or other settings, or
            has no operation of a kind that is needed.
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
    """Improves an arch by mutations, keeping each that is faster; returns (milliseconds, arch) of the fastest.

    It ends after `tries` mutations, or earlier after as many failures in a row as all choices together have candidates.
    """
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
