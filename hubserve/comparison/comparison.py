"""`compare`, which runs strategies on tables of scores for many seeds, and `StrategyComparison`, its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hubserve.comparison.benchmark_table import BenchmarkTable
from hubserve.comparison.cell_file import CellFile
from hubserve.comparison.competitors import Competitor, find_competitors
from hubserve.comparison.run_cells import CellPlan, OnCell, plan_cells, run_cells
from hubserve.comparison.search_cell import SearchCell
from hubserve.comparison.table_result import TableResult, reference_point, table_result
from hubserve.errors import ExperimentError
from hubserve.experiment.executors import Executor, InlineExecutor

MARKS = (10, 25, 50, 100, 150, 200, 300, 500, 1000)
"""Numbers of trials after which results are printed, unless others are asked for."""


@dataclass(frozen=True)
class StrategyComparison:
    """The result of `compare`; `hubserve.comparison.frames` makes tables of it, and `write_report` files.

    Attributes:
        labels: Names of the strategies.
        trials: Number of trials of each search.
        seeds: The seeds, in the order of all arrays.
        marks: Numbers of trials after which results are reported, in ascending order; the last one is `trials`.
        results: The results on each table.
    """

    labels: tuple[str, ...]
    trials: int
    seeds: tuple[int, ...]
    marks: tuple[int, ...]
    results: tuple[TableResult, ...]

    @property
    def warnings(self) -> list[str]:
        """The warnings of all tables."""
        return [warning for result in self.results for warning in result.warnings]


def compare(
    tables: BenchmarkTable | Sequence[BenchmarkTable],
    strategies: Sequence[str | Competitor],
    *,
    trials: int = 150,
    seeds: int | Sequence[int] = 200,
    marks: Sequence[int] | None = None,
    reference: tuple[float | None, float | None] = (None, None),
    folder: Path | None = None,
    executor: Executor | None = None,
    on_cell: OnCell = lambda done, total: None,
) -> StrategyComparison:
    """Runs every strategy on every table once for every seed, and returns the curves of all searches.

    >>> table = read_scored_csv(Path("my.csv"), ["kernel", "width"], Scores(("valid",), "test"))
    >>> compare(table, ["Random", "my_module:MyStrategy"], trials=100, seeds=50, folder=Path("comparison"))

    Args:
        tables: One table, or several that all have one objective, or all have two.
        strategies: Names as `find_competitors` reads them, or competitors.
        trials: Number of trials of each search, at least 1.
        seeds: The seeds, or their number: 200 are 0 to 199.
        marks: Numbers of trials after which results are reported; None takes those of `MARKS` below `trials`. `trials` is
            always added.
        reference: Driving score and cost of the reference point of the hypervolume; None takes the worst one of the table.
        folder: Folder in which finished searches are kept: a later call with the same folder only runs the ones that are
            missing, also if the process was killed. None keeps them in memory.
        executor: Runs the searches; None runs them in this process, one after the other.
        on_cell: Is called with the number of finished searches and the number of all, when it changes.

    Raises:
        StrategyError: A strategy cannot be found or made, or has raised an exception in a search.
        ExperimentError: A number is out of range; tables, strategies or seeds are missing or named twice; some tables have one
            objective and others two; no arch of a table is better than the reference point; another process uses the folder,
            or its file is corrupt; or a strategy cannot be sent to another process.
        StorageError: The folder cannot be written.
    """
    tables = [tables] if isinstance(tables, BenchmarkTable) else list(tables)
    competitors = [
        found for entry in strategies for found in ([entry] if isinstance(entry, Competitor) else find_competitors([entry]))
    ]
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    reported = _marks(marks, trials)
    _check(tables, competitors, trials, chosen)
    points = [reference_point(table, reference) for table in tables]
    plans = plan_cells(tables, competitors, trials=trials, seeds=chosen)
    run = executor or InlineExecutor()

    def found_cells(file: CellFile | None) -> dict[str, SearchCell]:
        return run_cells(plans, tables, competitors, trials=trials, executor=run, file=file, on_cell=on_cell)

    if folder is None:
        found = found_cells(None)
    else:
        with CellFile(folder) as file:
            found = found_cells(file)
    cells = _by_table(plans, found, len(tables), len(competitors))
    results = [
        table_result(table, of_table, competitors, trials=trials, seeds=chosen, marks=reported, reference=point)
        for table, of_table, point in zip(tables, cells, points, strict=True)
    ]
    return StrategyComparison(tuple(competitor.label for competitor in competitors), trials, chosen, reported, tuple(results))


def _check(tables: Sequence[BenchmarkTable], competitors: Sequence[Competitor], trials: int, seeds: Sequence[int]) -> None:
    labels = [competitor.label for competitor in competitors]
    names = [table.name for table in tables]
    if not tables or not competitors or not seeds:
        raise ExperimentError("a comparison needs at least one table, one strategy and one seed")
    if trials < 1:
        raise ExperimentError(f"trials = {trials}: a search needs at least one")
    for what, listed in (("strategies", labels), ("tables", names), ("seeds", list(map(str, seeds)))):
        twice = next((name for name in listed if listed.count(name) > 1), None)
        if twice is not None:
            raise ExperimentError(f"{twice} is named twice among the {what} of a comparison; leave one out, or rename it")
    if len({len(table.scores.directions) for table in tables}) > 1:
        raise ExperimentError("some tables have one objective and others two; compare them one after the other")


def _marks(marks: Sequence[int] | None, trials: int) -> tuple[int, ...]:
    if marks is not None and any(not 1 <= mark <= trials for mark in marks):
        raise ExperimentError(f"results are asked for after {', '.join(map(str, marks))} trials of {trials}")
    return tuple(sorted({*(mark for mark in (MARKS if marks is None else marks) if mark <= trials), trials}))


def _by_table(
    plans: Sequence[CellPlan], found: dict[str, SearchCell], tables: int, competitors: int
) -> list[tuple[tuple[SearchCell, ...], ...]]:
    """Returns the searches by table, strategy and seed."""
    grid: list[list[list[SearchCell]]] = [[[] for _ in range(competitors)] for _ in range(tables)]
    for plan in plans:
        grid[plan.table][plan.competitor].append(found[plan.key])
    return [tuple(map(tuple, of_table)) for of_table in grid]
