"""Computes the exact expectation of random search on a table, with which the results of the strategy `Random` are compared."""

from dataclasses import dataclass

import numpy as np

from hubserve.comparison.benchmark_table import BenchmarkTable, Floats
from hubserve.space import ModelSpace, OneOf


@dataclass(frozen=True)
class ClosedForm:
    """Expectation of random search after each number of trials, and how much single searches differ from it.

    Attributes:
        mean: Expected judging score after 1, 2, ... trials, shape (trials,).
        variance: Variance of the judging score among searches that see the same run of the table, averaged over the runs that
            the seeds choose, shape (trials,).
    """

    mean: Floats
    variance: Floats


def random_closed_form(
    table: BenchmarkTable, trials: int, seeds: list[int] | range, *, repeats: bool = False
) -> ClosedForm | None:
    """Returns the exact expectation of the judging score of the best arch by the driving score among random archs.

    Each arch of the space is equally likely. If F(k, n) is the probability that none of n drawn archs is better than the k
    worst ones, archs with the same driving score at the ranks k + 1 to m are the best ones with probability F(m, n) - F(k, n),
    and each of them is then the first one equally often. F(k, n) is the product of (k - i) / (archs - i) for i from 0 to n - 1
    without repeats, and of k / archs with repeats. Invalid archs come last; a search that finds nothing else has the worst
    judging score of the table. When 500 draws in a row were tried before, `Random` no longer draws uniformly, which is not
    modelled; this happens only when nearly all archs of a space of thousands were tried.

    Args:
        table: The table.
        trials: Largest number of trials.
        seeds: Seeds of the searches, which choose the runs of the table.
        repeats: Whether archs may be drawn again, as `Random(dedup=False)` does.

    Returns:
        The expectation, or None if the archs of the space are not equally likely: a choice has weights, several candidates in
        an answer or conditions, or the space refuses archs.
    """
    if not _is_uniform(table.space):
        return None
    runs, counts = np.unique([table.run_of(seed) for seed in seeds], return_counts=True)
    parts = [_of_run(table, table.drive[run], trials, repeats) for run in runs]
    shares = counts / counts.sum()
    return ClosedForm(
        sum((share * part.mean for share, part in zip(shares, parts, strict=True)), np.zeros(trials)),
        sum((share * part.variance for share, part in zip(shares, parts, strict=True)), np.zeros(trials)),
    )


def _is_uniform(space: ModelSpace) -> bool:
    choices = space.choices.values()
    return type(space).check is ModelSpace.check and all(
        isinstance(choice, OneOf) and choice.weights is None and not choice.gates for choice in choices
    )


def _of_run(table: BenchmarkTable, drive: Floats, trials: int, repeats: bool) -> ClosedForm:
    """Returns the closed form for one run that drives the searches."""
    archs, invalid = table.space.grid_size, table.space.grid_size - len(table)
    # Archs with the same driving score are a group; the invalid ones are the first group, as the worst.
    _, group, counts = np.unique(table.sign * drive, return_inverse=True, return_counts=True)
    means = np.append(table.worst_judge, np.bincount(group, table.judge) / counts)
    squares = np.append(table.worst_judge**2, np.bincount(group, table.judge**2) / counts)
    up_to = float(invalid) + np.append(0, np.cumsum(counts)).astype(float)
    none_better = np.ones(len(up_to))
    expected, variance = np.empty(trials), np.empty(trials)
    for i in range(trials):
        drawn = 0 if repeats else min(i, archs - 1)
        if repeats or i < archs:  # After all archs were drawn, nothing changes.
            none_better = none_better * np.maximum(up_to - drawn, 0) / (archs - drawn)
        chances = np.diff(none_better, prepend=0)
        expected[i] = chances @ means
        variance[i] = max(0.0, chances @ squares - expected[i] ** 2)
    return ClosedForm(expected, variance)
