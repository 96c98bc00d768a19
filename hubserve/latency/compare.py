"""Is B slower than A, or was it the weather? Two reports, one answer, for people and for CI.

The samples of a report were taken in turns, and neighbours share whatever the machine was doing, so they are resampled turn
by turn (a block bootstrap): resampling them one by one would be sure of far too much. The Mann-Whitney test is told beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from hubserve.errors import ProfileError
from hubserve.latency.format_latency import WINDOW
from hubserve.latency.profile_report import ProfileReport

CONFIDENCE = 0.99
RESAMPLES = 2000
LEAST_SAMPLES = 4 * WINDOW

Verdict = Literal["faster", "slower", "no difference"]


class Comparison(BaseModel):
    """B against A, in one form.

    Attributes:
        form: which.
        a_ms: median of A.
        b_ms: median of B.
        ratio: B's median over A's; above 1, B is slower.
        low: lower end of the ratio's 99 % interval.
        high: upper end.
        p_value: of the two-sided Mann-Whitney test that neither tends to be slower.
        smallest: relative change that is worth telling.
        verdict: of B. "slower" where the whole interval lies above 1 + smallest and p is below 0.01; "faster" likewise.
    """

    model_config = ConfigDict(frozen=True)

    form: str
    a_ms: float
    b_ms: float
    ratio: float
    low: float
    high: float
    p_value: float
    smallest: float
    verdict: Verdict


def compare_reports(
    a: ProfileReport, b: ProfileReport, *, forms: Sequence[str] = (), smallest: float = 0.02
) -> list[Comparison]:
    """Form by form.

    Args:
        a: what was.
        b: what is.
        forms: to compare; all that both have unless given.
        smallest: relative change that is worth telling.

    Raises:
        ProfileError: no common form, another batch size or number of threads, or too few samples.
    """
    common = [form.form for form in a.forms if b.form(form.form) is not None]
    chosen = list(forms) or common
    missing = [form for form in chosen if form not in common]
    if missing or not chosen:
        raise ProfileError(
            f"both reports have {', '.join(common) or 'no form in common'}; asked for {', '.join(chosen) or 'any'}"
        )
    found = []
    for name in chosen:
        first, second = a.form(name), b.form(name)
        if first is None or second is None:
            continue
        for what in ("batch_size", "threads", "device"):
            if getattr(first, what) != getattr(second, what):
                raise ProfileError(
                    f"{name}: {what} is {getattr(first, what)} in A and {getattr(second, what)} in B; measure both alike"
                )
        found.append(compare_samples(first.samples_ms, second.samples_ms, form=name, smallest=smallest))
    return found


def compare_samples(
    a: Sequence[float], b: Sequence[float], *, form: str = "", smallest: float = 0.02, seed: int = 0
) -> Comparison:
    """Two lists of latencies, in ms, in the order in which they were taken.

    Raises:
        ProfileError: fewer than 40 samples in one of them.
    """
    for name, samples in (("A", a), ("B", b)):
        if len(samples) < LEAST_SAMPLES:
            raise ProfileError(
                f"{name} has {len(samples)} samples of {form or 'a form'}; {LEAST_SAMPLES} are needed: measure longer"
            )
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    low, high = _ratio_interval(first, second, np.random.default_rng(seed))
    p_value = mann_whitney(first, second)
    certain = p_value < 1 - CONFIDENCE
    verdict: Verdict = "no difference"
    if certain and low > 1 + smallest:
        verdict = "slower"
    elif certain and high < 1 / (1 + smallest):
        verdict = "faster"
    return Comparison(
        form=form,
        a_ms=float(np.median(first)),
        b_ms=float(np.median(second)),
        ratio=float(np.median(second) / np.median(first)),
        low=low,
        high=high,
        p_value=p_value,
        smallest=smallest,
        verdict=verdict,
    )


def mann_whitney(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Two-sided p of the rank test, by its normal limit, with the corrections for ties and for continuity."""
    n, m = len(a), len(b)
    values, inverse, counts = np.unique(np.concatenate([a, b]), return_inverse=True, return_counts=True)
    if len(values) == 1:
        return 1.0
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[inverse]
    u = float(ranks[:n].sum()) - n * (n + 1) / 2
    total = n + m
    ties = float((counts.astype(np.float64) ** 3 - counts).sum()) / (total * (total - 1))
    spread = math.sqrt(n * m / 12 * (total + 1 - ties))
    z = (abs(u - n * m / 2) - 0.5) / spread
    return min(1.0, math.erfc(max(z, 0.0) / math.sqrt(2)))


def _ratio_interval(a: NDArray[np.float64], b: NDArray[np.float64], rng: np.random.Generator) -> tuple[float, float]:
    ratios = _resampled_medians(b, rng) / _resampled_medians(a, rng)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(ratios, [tail, 1 - tail])
    return float(low), float(high)


def _resampled_medians(samples: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Medians of as many turns, drawn with replacement; a last turn that is not whole is left out."""
    turns = samples[: len(samples) // WINDOW * WINDOW].reshape(-1, WINDOW)
    drawn = rng.integers(0, len(turns), (RESAMPLES, len(turns)))
    medians: NDArray[np.float64] = np.median(turns[drawn].reshape(RESAMPLES, -1), axis=1)
    return medians
