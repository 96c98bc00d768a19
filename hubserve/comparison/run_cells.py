"""`run_cells`, which runs the searches of a comparison that are not finished yet, several at once if the executor can."""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass

from hubserve.comparison.benchmark_table import BenchmarkTable
from hubserve.comparison.cell_file import CellFile
from hubserve.comparison.competitors import Competitor
from hubserve.comparison.search_cell import SearchCell, run_cell
from hubserve.experiment.executors import Executor

OnCell = Callable[[int, int], None]
"""Called with the number of finished searches and the number of all of them, at the start and after each search."""


@dataclass(frozen=True)
class CellPlan:
    """One search of a comparison.

    Attributes:
        table: Index of the table.
        competitor: Index of the competitor.
        seed: The seed.
        key: Key of its result in a `CellFile`: a hash of the table, the competitor, the number of trials and the seed.
    """

    table: int
    competitor: int
    seed: int
    key: str


def plan_cells(
    tables: Sequence[BenchmarkTable], competitors: Sequence[Competitor], *, trials: int, seeds: Sequence[int]
) -> list[CellPlan]:
    """Returns all searches of a comparison: those of the first seed first, so that strategies are tested by turns."""
    table_prints = [table.fingerprint for table in tables]
    competitor_prints = [competitor.fingerprint for competitor in competitors]

    def key(table: int, competitor: int, seed: int) -> str:
        parts = json.dumps([table_prints[table], competitor_prints[competitor], trials, seed])
        return hashlib.sha256(parts.encode()).hexdigest()

    indices = itertools.product(seeds, range(len(tables)), range(len(competitors)))
    return [CellPlan(table, competitor, seed, key(table, competitor, seed)) for seed, table, competitor in indices]


def run_cells(
    plans: Sequence[CellPlan],
    tables: Sequence[BenchmarkTable],
    competitors: Sequence[Competitor],
    *,
    trials: int,
    executor: Executor,
    file: CellFile | None,
    on_cell: OnCell = lambda done, total: None,
) -> dict[str, SearchCell]:
    """Runs the searches that `file` lacks, adds each to it when it ends, and returns all results by key.

    Args:
        plans: The searches.
        tables: The tables.
        competitors: The competitors.
        trials: Number of trials of each search.
        executor: Runs the searches; it is started and stopped here.
        file: The finished searches of earlier runs, opened; None keeps results in memory only.
        on_cell: Is called when the number of finished searches changes.

    Raises:
        StrategyError: A strategy raised an exception. Searches whose results were received before are in the file; the results
            of others, even if they ended at the same time, are lost.
        ExperimentError: A competitor cannot be sent to another process.
        StorageError: The file cannot be written.
    """
    found: dict[str, SearchCell] = (
        {} if file is None else {plan.key: file.cells[plan.key] for plan in plans if plan.key in file.cells}
    )
    left = [plan for plan in plans if plan.key not in found]
    on_cell(len(found), len(plans))
    if not left:
        return found
    with executor:
        shared = executor.share(tuple(tables))
        calls = ((plan, (shared, plan.table, competitors[plan.competitor], trials, plan.seed)) for plan in left)
        for plan, cell in _results(executor, calls):
            found[plan.key] = cell
            if file is not None:
                name = competitors[plan.competitor].label
                file.add(plan.key, cell, table=tables[plan.table].name, strategy=name)
            on_cell(len(found), len(plans))
    return found


def _results(executor: Executor, calls: Iterable[tuple[CellPlan, tuple[object, ...]]]) -> Iterator[tuple[CellPlan, SearchCell]]:
    """Yields the plans with their results in the order in which they end; as many as the executor has workers run at once."""
    waiting = iter(calls)
    running: dict[Future[SearchCell], CellPlan] = {}
    while True:
        for plan, arguments in itertools.islice(waiting, executor.workers - len(running)):
            running[executor.submit(_run, *arguments)] = plan
        if not running:
            return
        ended, _ = wait(running, return_when=FIRST_COMPLETED)
        # The failed ones last: whoever takes these results keeps those of searches that ended together with one that failed.
        for future in sorted(ended, key=lambda future: future.exception() is not None):
            yield running.pop(future), future.result()


def _run(tables: Sequence[BenchmarkTable], table: int, competitor: Competitor, trials: int, seed: int) -> SearchCell:
    return run_cell(tables[table], competitor, trials, seed)
