"""`SearchCell`, one search of a comparison: a strategy, a table and a seed; and `run_cell`, which runs it."""

import time
import warnings
from dataclasses import dataclass

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState

from hubserve.comparison.benchmark_table import BenchmarkTable
from hubserve.comparison.competitors import Competitor
from hubserve.errors import SpaceExhausted, StrategyError
from hubserve.experiment.trial_evaluation import explain
from hubserve.strategy import Strategy, suggest_arch


@dataclass(frozen=True)
class SearchCell:
    """The result of one search.

    Attributes:
        seed: Seed of the strategy, which also chose the run that drove the search.
        rows: Position of the row of each trial's arch in the table, in turn; -1 for an invalid arch. There are fewer than asked
            for if the strategy had no further arch to propose.
        seconds: Time of the whole search, in seconds: proposals and Optuna's records of them in memory.
        cpu_seconds: Processor time of this process in that time, of all its threads, in seconds.
    """

    seed: int
    rows: tuple[int, ...]
    seconds: float
    cpu_seconds: float


def run_cell(table: BenchmarkTable, competitor: Competitor, trials: int, seed: int) -> SearchCell:
    """Searches a table with a competitor for `trials` trials, or until it has no further arch; returns the result.

    Raises:
        StrategyError: The strategy cannot be made, or raised an exception.
    """
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    start, cpu_start = time.perf_counter(), time.process_time()
    rows: list[int] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            _search(table, competitor.make(seed), trials, seed, rows)
    except SpaceExhausted:
        pass
    except Exception as error:
        reason = str(error) if isinstance(error, StrategyError) else explain(error)
        raise StrategyError(f"{competitor.label}, seed {seed}, trial {len(rows)} on {table.name}: {reason}") from error
    finally:
        optuna.logging.set_verbosity(before)
    return SearchCell(seed, tuple(rows), time.perf_counter() - start, time.process_time() - cpu_start)


def _search(table: BenchmarkTable, strategy: Strategy, trials: int, seed: int, rows: list[int]) -> None:
    """Appends the position of the row of each trial's arch to `rows`; a trial without a row fails."""
    strategy.bind(table.space, max_trials=trials)
    study = optuna.create_study(directions=table.scores.directions, sampler=strategy)
    drive = table.drive[table.run_of(seed)].tolist()
    cost = None if table.cost is None else table.cost.tolist()
    for _ in range(trials):
        trial = study.ask()
        row = table.row(suggest_arch(trial, table.space))
        if row < 0:
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, drive[row] if cost is None else (drive[row], cost[row]))
        rows.append(row)
