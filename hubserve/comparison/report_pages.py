"""`report_pages`, the tables of a comparison's report as texts, for terminals and for Markdown."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hubserve.comparison.comparison import StrategyComparison
from hubserve.comparison.frames import ALL_TABLES, CLOSED_FORM, rank_frame
from hubserve.comparison.paired_statistics import mean_interval, mean_ranks, pair_tests
from hubserve.comparison.table_result import Measured, TableResult


@dataclass(frozen=True)
class ReportPage:
    """One table of a report.

    Attributes:
        title: Sentence that says what the table has.
        columns: Names of the columns.
        rows: Texts of the cells.
        plot: Name of the file of the plot that belongs to the table; None for a table without one.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    plot: str | None = None


def plot_name(result: TableResult, measured: Measured) -> str:
    """Returns the name of the file with the plot of a table and a measure, such as regret-NasBench201-cifar100.svg."""
    name = re.sub(r"[^\w.-]+", "-", result.table.name)
    return f"{measured.name}-{name}.svg"


def report_pages(comparison: StrategyComparison) -> Iterator[ReportPage]:
    """Yields, for each table and measure, the values of each strategy, and the tests of all pairs after the last trial.

    With a single strategy there are no tests. With several tables and strategies, the mean ranks over all tables follow.
    """
    for result in comparison.results:
        for measured in result.measures:
            yield _values(comparison, result, measured)
            if len(comparison.labels) > 1:
                yield _pairs(comparison, result, measured)
    if len(comparison.results) > 1 and len(comparison.labels) > 1:
        yield from _ranks(comparison)


def _ranks(comparison: StrategyComparison) -> Iterator[ReportPage]:
    """Yields the mean rank of each strategy over all tables, for each measure."""
    frame = [row for row in rank_frame(comparison).records() if row["table"] == ALL_TABLES]
    for measured in comparison.results[0].measures:
        ranks = {(row["strategy"], row["trials"]): row["mean_rank"] for row in frame if row["measure"] == measured.name}
        best_first = sorted(comparison.labels, key=lambda label: ranks[label, comparison.trials])
        rows = [(label, *(f"{ranks[label, mark]:.2f}" for mark in comparison.marks)) for label in best_first]
        title = f"Mean rank by {measured.name} over {len(comparison.results)} tables; 1 is the best"
        yield ReportPage(title, ("strategy", *_mark_names(comparison)), tuple(rows))


def _mark_names(comparison: StrategyComparison) -> list[str]:
    """Returns the names of the columns of the marks; only the first one says what the numbers are, to save width."""
    first, *others = comparison.marks
    return [f"{first} trials", *map(str, others)]


def _values(comparison: StrategyComparison, result: TableResult, measured: Measured) -> ReportPage:
    ranks = mean_ranks([curves[:, -1] for curves in measured.curves], lower_is_better=measured.lower_is_better)
    rows, decimals = [], _decimals(result, measured)
    if measured.name == "regret" and result.closed_form is not None:
        exact = result.table.sign * (result.table.best_judge - result.closed_form.mean)
        rows.append((CLOSED_FORM, *(f"{exact[mark - 1]:.{decimals}f}" for mark in comparison.marks), "", ""))
    for i, (label, curves) in enumerate(zip(comparison.labels, measured.curves, strict=True)):
        mean, _, high = mean_interval(curves)
        values = (_with_margin(mean[mark - 1], high[mark - 1], decimals) for mark in comparison.marks)
        rows.append((label, *values, f"{ranks[i]:.2f}", f"{_milliseconds(result, i):.2f}"))
    # The best strategy after the last trial comes first; the exact expectation stays on top.
    rows[-len(ranks) :] = [rows[len(rows) - len(ranks) + int(i)] for i in np.argsort(ranks, kind="stable")]
    columns = ("strategy", *_mark_names(comparison), "mean rank", "CPU ms")
    return ReportPage(_title(comparison, result, measured), columns, tuple(rows), plot_name(result, measured))


def _title(comparison: StrategyComparison, result: TableResult, measured: Measured) -> str:
    table, scores = result.table, result.table.scores
    seeds = f"{len(comparison.seeds)} seeds" if len(comparison.seeds) > 1 else "1 seed"
    missing = table.space.grid_size - len(table)
    size = f"{len(table):,} archs" + (f" ({missing:,} more are invalid)" if missing > 0 and _is_product(table.name) else "")
    if measured.name == "hypervolume":
        reference = result.reference or (float("nan"), float("nan"))
        return (
            f"{table.name}, {size}: share of the hypervolume of {' or '.join(scores.drive)} and {scores.minimize}, reference "
            f"{reference[0]:g} and {reference[1]:g}; mean and 95 % interval, {seeds}"
        )
    return (
        f"{table.name}, {size}: regret of {scores.judge} (the best has {table.best_judge:.6g}) where "
        f"{' or '.join(scores.drive)} drives; mean and 95 % interval, {seeds}"
    )


def _is_product(name: str) -> bool:
    """Returns whether each row of the table called `name` is of a single arch; in NasBench101 several archs share a row."""
    return name != "NasBench101"


def _pairs(comparison: StrategyComparison, result: TableResult, measured: Measured) -> ReportPage:
    rows = []
    for test in pair_tests([curves[:, -1] for curves in measured.curves]):
        wins = (test.lower, test.higher) if measured.lower_is_better else (test.higher, test.lower)
        rows.append(
            (
                comparison.labels[test.first],
                comparison.labels[test.second],
                _with_margin(test.difference, test.high, _decimals(result, measured), signed=True),
                f"{wins[0]} : {wins[1]}",
                f"{test.p_holm:.2g}",
            )
        )
    title = (
        f"{result.table.name}, {measured.name} after {comparison.trials} trials: first minus second, paired by seed; "
        "Wilcoxon's signed-rank test, p corrected by Holm"
    )
    return ReportPage(title, ("first", "second", "difference", "seeds won", "p"), tuple(rows))


def _milliseconds(result: TableResult, competitor: int) -> float:
    """Returns the median over the searches of the processor time of a trial, which depends least on what else runs."""
    return float(np.median([1e3 * cell.cpu_seconds / max(1, len(cell.rows)) for cell in result.cells[competitor]]))


def _decimals(result: TableResult, measured: Measured) -> int:
    """Returns the number of decimals that are shown: 4 for shares, and for regrets as many as suit the range of the scores."""
    if measured.name == "hypervolume":
        return 4
    span = abs(result.table.best_judge - result.table.worst_judge) or 1.0
    return int(np.clip(5 - np.ceil(np.log10(span)), 0, 8))


def _with_margin(mean: float, high: float, decimals: int, *, signed: bool = False) -> str:
    shown = f"{mean:{'+' if signed else ''}.{decimals}f}"
    return shown if np.isnan(high) else f"{shown} ±{high - mean:.{decimals}f}"
