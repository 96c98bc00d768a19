"""`TableResult`, what all strategies reached on one table, and `table_result`, which computes it from their searches."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hubserve.comparison.benchmark_table import BenchmarkTable, Floats
from hubserve.comparison.closed_form import ClosedForm, random_closed_form
from hubserve.comparison.competitors import Competitor
from hubserve.comparison.curves import Reference, hypervolume_curve, regret_curve, true_hypervolumes, worst_reference
from hubserve.comparison.search_cell import SearchCell
from hubserve.errors import ExperimentError
from hubserve.strategy import Random

TOLERANCE = 4.0
"""Number of standard errors by which the mean of Random may differ from its expectation before a warning is shown."""


@dataclass(frozen=True)
class Measured:
    """What one measure is for each strategy, seed and number of trials on one table.

    Attributes:
        name: "regret" or "hypervolume".
        lower_is_better: True for the regret.
        curves: For each strategy an array of shape (seeds, trials).
    """

    name: str
    lower_is_better: bool
    curves: tuple[Floats, ...]


@dataclass(frozen=True)
class RandomCheck:
    """The mean regret of `Random` beside its exact expectation.

    Attributes:
        strategy: Label of the strategy, a `Random` with or without repeats.
        trials: Number of trials.
        mean: Mean regret over the seeds.
        exact: Its expectation.
        standard_error: Its standard error, computed from the table, not from the searches.
    """

    strategy: str
    trials: int
    mean: float
    exact: float
    standard_error: float

    @property
    def holds(self) -> bool:
        """Whether the mean is at most `TOLERANCE` standard errors from its expectation."""
        return abs(self.mean - self.exact) <= TOLERANCE * self.standard_error + 1e-9


@dataclass(frozen=True)
class TableResult:
    """The results of all strategies on one table.

    Attributes:
        table: The table.
        cells: For each strategy its searches, one for each seed.
        measures: The measures, the most important one first: the regret; with two objectives the hypervolume, then the regret.
        closed_form: Exact expectation of `Random` without repeats; None if the archs of the space are not equally likely.
        reference: Reference point of the hypervolume; None for a single objective.
        random_checks: Comparisons of each `Random` with its closed form.
    """

    table: BenchmarkTable
    cells: tuple[tuple[SearchCell, ...], ...]
    measures: tuple[Measured, ...]
    closed_form: ClosedForm | None
    reference: Reference | None
    random_checks: tuple[RandomCheck, ...]

    @property
    def warnings(self) -> list[str]:
        """A sentence for each comparison of `Random` with its closed form that failed."""
        return [
            f"{self.table.name}: {check.strategy} has a regret of {check.mean:.4g} after {check.trials} trials where "
            f"{check.exact:.4g} is exact, with a standard error of {check.standard_error:.2g}: the table, its space or the "
            "search is broken"
            for check in self.random_checks
            if not check.holds
        ]


def reference_point(table: BenchmarkTable, asked: tuple[float | None, float | None]) -> Reference | None:
    """Returns the reference point of the hypervolume; None for a table with one objective.

    Args:
        table: The table.
        asked: Driving score and cost; None takes the worst one of the table.

    Raises:
        ExperimentError: In one of the runs, no arch of the table is better than the point in both.
    """
    if table.cost is None:
        return None
    score, cost = worst_reference(table)
    point = (score if asked[0] is None else asked[0], cost if asked[1] is None else asked[1])
    if min(true_hypervolumes(table, point)) <= 0:
        raise ExperimentError(
            f"{table.name}: no arch is better than the reference point {point[0]:g}, {point[1]:g} in both "
            f"{' and '.join(table.scores.columns)}; the worst values of the table are {score:g}, {cost:g}"
        )
    return point


def table_result(
    table: BenchmarkTable,
    cells: tuple[tuple[SearchCell, ...], ...],
    competitors: Sequence[Competitor],
    *,
    trials: int,
    seeds: tuple[int, ...],
    marks: tuple[int, ...],
    reference: Reference | None,
) -> TableResult:
    """Computes the curves of all searches on a table, and compares those of `Random` with its closed form.

    Args:
        table: The table.
        cells: For each competitor its searches, one for each seed.
        competitors: The competitors.
        trials: Number of trials of each search.
        seeds: The seeds.
        marks: Numbers of trials, from 1 to `trials`, after which `Random` is compared with its closed form.
        reference: Reference point of the hypervolume; None for a single objective.
    """
    curves = tuple(np.stack([regret_curve(table, cell, trials) for cell in of_strategy]) for of_strategy in cells)
    measures = [Measured("regret", True, curves)]
    if reference is not None:
        true = true_hypervolumes(table, reference)
        shares = [
            np.stack([hypervolume_curve(table, cell, trials, reference, true) for cell in of_strategy]) for of_strategy in cells
        ]
        measures.insert(0, Measured("hypervolume", False, tuple(shares)))
    checks = [
        check
        for competitor, regrets in zip(competitors, curves, strict=True)
        if competitor.kind is Random
        for check in _random_checks(table, competitor, regrets, seeds, marks)
    ]
    exact = random_closed_form(table, trials, list(seeds))
    return TableResult(table, cells, tuple(measures), exact, reference, tuple(checks))


def _random_checks(
    table: BenchmarkTable, competitor: Competitor, regrets: Floats, seeds: tuple[int, ...], marks: tuple[int, ...]
) -> list[RandomCheck]:
    """Returns a check of the mean regret of Random for each mark; none if the archs are not equally likely."""
    repeats = not competitor.make(0).settings.dedup
    exact = random_closed_form(table, max(marks), list(seeds), repeats=repeats)
    if exact is None:
        return []
    found = []
    for mark in marks:
        expected = float(table.sign * (table.best_judge - exact.mean[mark - 1]))
        error = math.sqrt(exact.variance[mark - 1] / len(seeds))
        found.append(RandomCheck(competitor.label, mark, float(regrets[:, mark - 1].mean()), expected, error))
    return found
