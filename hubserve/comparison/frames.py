"""Tables of a comparison's results: regrets, tests of pairs, ranks, times and curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hubserve.comparison.benchmark_table import Floats
from hubserve.comparison.comparison import StrategyComparison
from hubserve.comparison.paired_statistics import mean_interval, mean_ranks, pair_tests

CLOSED_FORM = "Random, exact"
"""Name of the row with the exact expectation of random search."""

ALL_TABLES = "all"
"""Name in place of a table's of the rows with means over all tables."""


@dataclass(frozen=True)
class Frame:
    """A table of results. `pandas.DataFrame(frame.rows, columns=frame.columns)` makes a data frame of it.

    Attributes:
        columns: Names of the columns.
        rows: The rows; None is a missing value.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def records(self) -> list[dict[str, Any]]:
        """Returns each row as a dict by column."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def summary_frame(comparison: StrategyComparison) -> Frame:
    """Returns each measure of each strategy after each mark: mean, 95 % interval by Student's t, and median over the seeds.

    The columns are table, measure, strategy, trials, mean, low, high, median and seeds (their number); low and high are None
    for a single seed. The exact expectation of random search, where it is known, is a strategy called "Random, exact", with
    None in all columns after mean.
    """
    return _value_frame(comparison, comparison.marks)


def curve_frame(comparison: StrategyComparison) -> Frame:
    """Returns the columns of `summary_frame` after each trial."""
    return _value_frame(comparison, range(1, comparison.trials + 1))


def _value_frame(comparison: StrategyComparison, marks: Sequence[int]) -> Frame:
    rows: list[tuple[Any, ...]] = []
    for result in comparison.results:
        for measured in result.measures:
            for label, curves in zip(comparison.labels, measured.curves, strict=True):
                mean, low, high = mean_interval(curves)
                median = np.median(curves, axis=0)
                for mark in marks:
                    values = (_number(array[mark - 1]) for array in (mean, low, high, median))
                    rows.append((result.table.name, measured.name, label, mark, *values, len(curves)))
            if measured.name == "regret" and result.closed_form is not None:
                exact = result.table.sign * (result.table.best_judge - result.closed_form.mean)
                rows.extend(
                    (result.table.name, "regret", CLOSED_FORM, mark, _number(exact[mark - 1]), None, None, None, None)
                    for mark in marks
                )
    return Frame(("table", "measure", "strategy", "trials", "mean", "low", "high", "median", "seeds"), tuple(rows))


def pair_frame(comparison: StrategyComparison) -> Frame:
    """Returns the tests of all pairs of strategies after each mark, paired by seed (`paired_statistics.PairTest`).

    The columns are table, measure, trials, first, second, difference (of the means, first minus second), low and high (its
    95 % interval), first_wins and second_wins (numbers of seeds), p, p_holm and better, which names the strategy with the
    better mean if p_holm is below 0.05, and is None otherwise.
    """
    rows: list[tuple[Any, ...]] = []
    for result in comparison.results:
        for measured in result.measures:
            for mark in comparison.marks:
                for test in pair_tests(_at(measured.curves, mark)):
                    first, second = comparison.labels[test.first], comparison.labels[test.second]
                    first_wins = (test.difference < 0) == measured.lower_is_better
                    better = (first if first_wins else second) if test.p_holm < 0.05 and test.difference else None
                    wins = (test.lower, test.higher) if measured.lower_is_better else (test.higher, test.lower)
                    interval = (test.difference, _number(test.low), _number(test.high))
                    rows.append(
                        (result.table.name, measured.name, mark, first, second, *interval, *wins, test.p, test.p_holm, better)
                    )
    names = ("difference", "low", "high", "first_wins", "second_wins", "p", "p_holm", "better")
    return Frame(("table", "measure", "trials", "first", "second", *names), tuple(rows))


def rank_frame(comparison: StrategyComparison) -> Frame:
    """Returns the mean rank of each strategy over the seeds after each mark; 1 is the best.

    The columns are table, measure, trials, strategy and mean_rank. With several tables, the rows of the table "all" have the
    mean over the tables.
    """
    rows: list[tuple[Any, ...]] = []
    for index, measured in enumerate(comparison.results[0].measures):
        for mark in comparison.marks:
            ranks = [
                mean_ranks(_at(result.measures[index].curves, mark), lower_is_better=measured.lower_is_better)
                for result in comparison.results
            ]
            names = [result.table.name for result in comparison.results]
            if len(ranks) > 1:
                names, ranks = [*names, ALL_TABLES], [*ranks, np.mean(ranks, axis=0)]
            for name, of_table in zip(names, ranks, strict=True):
                rows.extend(
                    (name, measured.name, mark, label, float(rank))
                    for label, rank in zip(comparison.labels, of_table, strict=True)
                )
    return Frame(("table", "measure", "trials", "strategy", "mean_rank"), tuple(rows))


def random_frame(comparison: StrategyComparison) -> Frame:
    """Returns the mean regret of each `Random` beside its exact expectation (`table_result.RandomCheck`), after each mark.

    The columns are table, strategy, trials, mean, exact, standard_error, standard_errors (the difference in standard errors;
    None if the standard error is 0) and holds (False if they are more than `table_result.TOLERANCE`).
    """
    rows: list[tuple[Any, ...]] = []
    for result in comparison.results:
        for check in result.random_checks:
            errors = (check.mean - check.exact) / check.standard_error if check.standard_error > 0 else None
            values = (check.mean, check.exact, check.standard_error, errors, check.holds)
            rows.append((result.table.name, check.strategy, check.trials, *values))
    columns = ("table", "strategy", "trials", "mean", "exact", "standard_error", "standard_errors", "holds")
    return Frame(columns, tuple(rows))


def time_frame(comparison: StrategyComparison) -> Frame:
    """Returns the milliseconds that a trial of each strategy took: the medians over its searches.

    They include Optuna's records of the trials in memory, and not what an evaluation would take. The columns are table,
    strategy, ms_a_trial (elapsed time), cpu_ms (processor time), ended_early (number of searches that had no further arch to
    propose) and invalid (share of trials whose arch has no row).
    """
    rows: list[tuple[Any, ...]] = []
    for result in comparison.results:
        for label, cells in zip(comparison.labels, result.cells, strict=True):
            counts = [max(1, len(cell.rows)) for cell in cells]
            wall = np.median([1e3 * cell.seconds / count for cell, count in zip(cells, counts, strict=True)])
            cpu = np.median([1e3 * cell.cpu_seconds / count for cell, count in zip(cells, counts, strict=True)])
            early = sum(len(cell.rows) < comparison.trials for cell in cells)
            invalid = float(np.mean([row < 0 for cell in cells for row in cell.rows] or [False]))
            rows.append((result.table.name, label, float(wall), float(cpu), early, invalid))
    return Frame(("table", "strategy", "ms_a_trial", "cpu_ms", "ended_early", "invalid"), tuple(rows))


def _at(curves: Sequence[Floats], mark: int) -> list[Floats]:
    return [of_strategy[:, mark - 1] for of_strategy in curves]


def _number(value: float) -> float | None:
    """Returns a plain number, or None for NaN."""
    return None if np.isnan(value) else float(value)
