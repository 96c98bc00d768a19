"""Whether one profile is slower than another, or differs only by the noise of the machine.

The samples of a report were taken in turns, and samples of one turn share whatever else the machine did, so they are resampled
turn by turn (a block bootstrap): resampling them one by one would give far too narrow an interval. A change counts where the
Mann-Whitney test finds it, too.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.stats import mannwhitneyu

from hubserve.errors import ProfileError
from hubserve.latency.profile_report import ProfileReport
from hubserve.timing import WINDOW

CONFIDENCE = 0.99
RESAMPLES = 2000
LEAST_SAMPLES = 4 * WINDOW

Verdict = Literal["faster", "slower", "no difference"]


class Comparison(BaseModel):
    """B compared with A, in one format.

    Attributes:
        format: Format that was compared.
        a_ms: Median latency of A, in ms.
        b_ms: Median latency of B, in ms.
        ratio: Median of B divided by that of A; above 1, B is slower.
        low: Lower end of the 99 % confidence interval of the ratio.
        high: Upper end of that interval.
        p_value: p of the two-sided Mann-Whitney test that neither tends to be slower.
        smallest: Relative change below which no difference is reported; 0.02 is 2 %.
        verdict: "slower" where the whole interval is above 1 + smallest and p is below 0.01, "faster" where it is below
            1 / (1 + smallest) and p is below 0.01; otherwise "no difference".
    """

    model_config = ConfigDict(frozen=True)

    format: str
    a_ms: float
    b_ms: float
    ratio: float
    low: float
    high: float
    p_value: float
    smallest: float
    verdict: Verdict


def compare_reports(
    a: ProfileReport, b: ProfileReport, *, formats: Sequence[str] = (), smallest: float = 0.02
) -> list[Comparison]:
    """Compares two profiles, format by format.

    Args:
        a: Profile from before.
        b: Profile from after.
        formats: Formats to compare; all that both have where empty.
        smallest: Relative change below which no difference is reported; 0.02 is 2 %.

    Raises:
        ProfileError: No common format, another device, batch size or number of threads, or too few samples.
    """
    common = [found.format for found in a.formats if b.latency_of(found.format) is not None]
    chosen = list(formats) or common
    missing = [name for name in chosen if name not in common]
    if missing or not chosen:
        raise ProfileError(
            f"both reports have {', '.join(common) or 'no format in common'}; asked for {', '.join(chosen) or 'any'}"
        )
    found = []
    for name in chosen:
        first, second = a.latency_of(name), b.latency_of(name)
        if first is None or second is None:
            continue
        for what in ("batch_size", "threads", "device"):
            if getattr(first, what) != getattr(second, what):
                raise ProfileError(
                    f"{name}: {what} is {getattr(first, what)} in A and {getattr(second, what)} in B; measure both alike"
                )
        found.append(compare_samples(first.samples_ms, second.samples_ms, format=name, smallest=smallest))
    return found


def compare_samples(
    a: Sequence[float], b: Sequence[float], *, format: str = "", smallest: float = 0.02, seed: int = 0
) -> Comparison:
    """Compares two lists of latencies, in ms, in the order in which they were taken.

    Raises:
        ProfileError: One of them has fewer than 40 samples.
    """
    for name, samples in (("A", a), ("B", b)):
        if len(samples) < LEAST_SAMPLES:
            raise ProfileError(
                f"{name} has {len(samples)} samples of {format or 'a format'}; {LEAST_SAMPLES} are needed: measure longer"
            )
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    rng, tail = np.random.default_rng(seed), (1 - CONFIDENCE) / 2
    ratios = _resampled_medians(second, rng) / _resampled_medians(first, rng)
    low, high = map(float, np.quantile(ratios, [tail, 1 - tail]))
    p_value = float(mannwhitneyu(first, second, method="asymptotic").pvalue)
    certain = p_value < 1 - CONFIDENCE  # False for nan, where all samples are the same.
    verdict: Verdict = "no difference"
    if certain and low > 1 + smallest:
        verdict = "slower"
    elif certain and high < 1 / (1 + smallest):
        verdict = "faster"
    return Comparison(
        format=format,
        a_ms=float(np.median(first)),
        b_ms=float(np.median(second)),
        ratio=float(np.median(second) / np.median(first)),
        low=low,
        high=high,
        p_value=1.0 if np.isnan(p_value) else p_value,
        smallest=smallest,
        verdict=verdict,
    )


def _resampled_medians(samples: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Medians of resamples, each of as many turns drawn with replacement; a last turn that is not whole is left out."""
    turns = samples[: len(samples) // WINDOW * WINDOW].reshape(-1, WINDOW)
    drawn = rng.integers(0, len(turns), (RESAMPLES, len(turns)))
    medians: NDArray[np.float64] = np.median(turns[drawn].reshape(RESAMPLES, -1), axis=1)
    return medians
