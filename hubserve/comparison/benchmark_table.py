"""`BenchmarkTable`, a model space whose archs have known scores: one score drives the searches, another one judges them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hubserve.benchmarks.score_table import Cell
from hubserve.errors import EvaluatorError
from hubserve.similar_names import suggest
from hubserve.space import Arch, ModelSpace
from hubserve.training.evaluator import Direction

Floats = npt.NDArray[np.float64]

KeyOfArch = Callable[[Arch], Hashable]
"""Function that returns the key of an arch's row."""


@dataclass(frozen=True)
class Scores:
    """Names of the columns of a table that score the archs, and the direction in which they are better.

    Attributes:
        drive: Columns with the score that strategies see, one for each training run; a cell that holds several runs counts as
            so many columns. A search sees a single run, which its seed chooses.
        judge: Column with the score by which searches are judged; a cell with several runs counts with their mean.
        minimize: Column with a cost that strategies minimize as a second objective, for a cell with several runs their mean;
            None for a single objective.
        lower_is_better: Whether lower values of `drive` and `judge` are better, as for errors and losses.
    """

    drive: tuple[str, ...]
    judge: str
    minimize: str | None = None
    lower_is_better: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, each once."""
        return tuple(dict.fromkeys([*self.drive, self.judge, *filter(None, [self.minimize])]))

    @property
    def directions(self) -> list[Direction]:
        """Directions of the objectives of a search, as Optuna names them."""
        first: Direction = "minimize" if self.lower_is_better else "maximize"
        return [first] if self.minimize is None else [first, "minimize"]


@dataclass(frozen=True)
class BenchmarkTable:
    """A model space whose archs have known scores. Strategies are compared on it without any training.

    `table_of_rows` makes one; `read_scored_csv` and `named_table` read files.

    Attributes:
        name: Name of the table, for reports.
        space: The space that is searched.
        key: Function that returns the key of an arch.
        rows: Maps the keys of the archs that have scores to their positions in the arrays. An arch without a row is invalid.
        scores: Names of the columns and the direction of the scores.
        drive: Driving scores, shape (runs, rows).
        judge: Judging scores, shape (rows,).
        cost: Costs, shape (rows,); None for a single objective.
    """

    name: str
    space: ModelSpace
    key: KeyOfArch = field(repr=False)
    rows: Mapping[Hashable, int] = field(repr=False)
    scores: Scores
    drive: Floats = field(repr=False)
    judge: Floats = field(repr=False)
    cost: Floats | None = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, arch: Arch) -> int:
        """Returns the position of an arch's row; -1 for an arch without one, which is invalid."""
        return self.rows.get(self.key(arch), -1)

    def run_of(self, seed: int) -> int:
        """Returns the index in `drive` of the run that a search with this seed sees."""
        return seed % len(self.drive)

    @property
    def sign(self) -> int:
        """1 if higher scores are better, -1 if lower ones are."""
        return -1 if self.scores.lower_is_better else 1

    @property
    def best_judge(self) -> float:
        """The best judging score in the table."""
        return float(self.sign * (self.sign * self.judge).max())

    @property
    def worst_judge(self) -> float:
        """The worst judging score in the table: that of a search which has found no valid arch."""
        return float(self.sign * (self.sign * self.judge).min())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of the space, the keys and all scores."""
        digest = hashlib.sha256(repr((self.space, self.scores, *self.rows)).encode())
        for array in (self.drive, self.judge, self.cost):
            digest.update(b"" if array is None else array.tobytes())
        return digest.hexdigest()


def table_of_rows(
    name: str, space: ModelSpace, key: KeyOfArch, rows: Mapping[Any, Mapping[str, Cell]], scores: Scores
) -> BenchmarkTable:
    """Makes a table of rows that map columns to cells.

    If a cell of `scores.drive` holds several training runs, as those of NAS-Bench-101 do, each run is one of `drive`; archs
    with fewer runs than others have theirs repeated, so that all runs of an arch drive equally many seeds.

    Args:
        name: Name of the table.
        space: The space that is searched.
        key: Function that returns the key of an arch.
        rows: The row of each arch, by key; not empty.
        scores: The columns to use.

    Raises:
        EvaluatorError: A column is missing, or has a cell that is no finite number.
    """
    columns = {column: _column(name, rows, column) for column in scores.columns}
    drive = np.concatenate([_runs(columns[column]) for column in scores.drive])
    cost = None if scores.minimize is None else _means(columns[scores.minimize])
    positions = {key: position for position, key in enumerate(rows)}
    return BenchmarkTable(name, space, key, positions, scores, drive, _means(columns[scores.judge]), cost)


def _column(name: str, rows: Mapping[Any, Mapping[str, Cell]], column: str) -> list[tuple[float, ...]]:
    found = []
    for key, row in rows.items():
        if column not in row:
            raise EvaluatorError(f"{name} has no column {column!r} for {key!r}. {suggest(column, row)}")
        cell = row[column]
        runs = cell if isinstance(cell, tuple) else (cell,)
        if not runs or any(isinstance(run, str) or not math.isfinite(run) for run in runs):
            raise EvaluatorError(f"{name}: column {column!r} of {key!r} is {cell!r}, which is no finite number")
        found.append(tuple(float(run) for run in runs))
    return found


def _runs(cells: Sequence[tuple[float, ...]]) -> Floats:
    """Returns the runs of a column, shape (runs, rows)."""
    count = math.lcm(*{len(runs) for runs in cells})
    return np.array([runs * (count // len(runs)) for runs in cells]).T


def _means(cells: Sequence[tuple[float, ...]]) -> Floats:
    return np.array([sum(runs) / len(runs) for runs in cells])
