"""Compares two latency profiles and decides whether one is slower, or whether they differ only by the noise of the machine.

The samples of a profile were taken in turns of several calls, and other work on the machine affects all calls of a turn.
Therefore whole turns are resampled (a block bootstrap); resampling single calls would give too narrow a confidence interval.
A difference is reported only if the Mann-Whitney test finds it, too.
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
    """Result of the comparison of profile B with profile A, for one format.

    Attributes:
        format: Format that was compared.
        a_ms: Median latency of A, in ms.
        b_ms: Median latency of B, in ms.
        ratio: Median of B divided by that of A; above 1, B is slower.
        low: Lower end of the 99 % confidence interval of the ratio.
        high: Upper end of that interval.
        p_value: The p-value of the two-sided Mann-Whitney test, whose null hypothesis is that neither tends to be slower.
        smallest: Relative change below which no difference is reported; 0.02 is 2 %.
        verdict: "slower" if `p_value` is below 0.01 and the whole interval is above 1 + `smallest`; "faster" if `p_value` is
            below 0.01 and the whole interval is below 1 / (1 + `smallest`); otherwise "no difference". It says how B is.
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
    """Compares two profiles and returns one result for each format.

    Args:
        a: Profile A, the one before a change.
        b: Profile B, the one after it.
        formats: Names of the formats to compare; if empty, all that both profiles have.
        smallest: Relative change below which no difference is reported; 0.02 is 2 %.

    Raises:
        ProfileError: A format is not in both profiles, or they have none in common; a format was measured on another device or
            with another batch size or number of threads; or one of the two has fewer than 40 samples.
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
    """Compares two lists of latencies.

    Args:
        a: Latencies of A in milliseconds, in the order of measurement.
        b: Latencies of B in milliseconds, in the order of measurement.
        format: Name of the format, for the result and the error message.
        smallest: Relative change below which no difference is reported; 0.02 is 2 %.
        seed: Seed of the bootstrap.

    Raises:
        ProfileError: One of the lists has fewer than 40 latencies.
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
    certain = p_value < 1 - CONFIDENCE  # False for nan, the p-value if all samples are equal.
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
    """Returns the medians of `RESAMPLES` bootstrap samples, of shape (`RESAMPLES`,).

    Each bootstrap sample consists of as many turns as there are, drawn with replacement. An incomplete last turn is left out.
    """
    turns = samples[: len(samples) // WINDOW * WINDOW].reshape(-1, WINDOW)
    drawn = rng.integers(0, len(turns), (RESAMPLES, len(turns)))
    medians: NDArray[np.float64] = np.median(turns[drawn].reshape(RESAMPLES, -1), axis=1)
    return medians
