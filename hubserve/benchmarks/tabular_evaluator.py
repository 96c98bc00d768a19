"""`TabularEvaluator`, an evaluator that reads the scores of archs from a table instead of training them."""

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Literal

from hubserve.benchmarks.arch_keys import ArchKey, default_key
from hubserve.benchmarks.score_table import Cell, Row, Table
from hubserve.errors import EvaluatorError
from hubserve.space import Arch, ModelSpace
from hubserve.training.evaluator import Direction, Evaluator, Objective, Trial


class TabularEvaluator(Evaluator):
    """An evaluator that returns the scores in an arch's row of a table.

    `read_csv`, `read_json`, `read_nasbench101` and `read_nasbench201` read tables.

    >>> table = read_csv(folder / "nb201.csv")
    >>> TabularEvaluator(table, "c100_val_12ep", report=["c100_test_12ep"])
    >>> TabularEvaluator(table.joined(latencies), {"c100_val_12ep": "maximize", "gold_6226": "minimize"})

    Args:
        table: A table with a row for each arch of the searched space.
        objectives: Maps the columns to optimize to "maximize" or "minimize"; a single name is maximized.
        report: Columns that are also returned as scores but are not optimized, such as the test accuracy.
        key: Function that returns the key of an arch's row, given a space and an arch. None uses `default_key(space)`: arch
            strings for NasBench201, digests for NasBench101, digits for other spaces.
        runs: Says which score an arch with several training runs gets: "mean" is their mean, "one" is that of one run, drawn
            with the trial's seed.

    Raises:
        EvaluatorError: The table lacks a column or has a value in it that is not a number, or `objectives` or `runs` is not
            valid.
    """

    def __init__(
        self,
        table: Table,
        objectives: str | Mapping[str, Direction],
        *,
        report: Sequence[str] = (),
        key: ArchKey | None = None,
        runs: Literal["mean", "one"] = "mean",
    ) -> None:
        directions: Mapping[str, Direction] = {objectives: "maximize"} if isinstance(objectives, str) else objectives
        if not directions or any(direction not in ("maximize", "minimize") for direction in directions.values()):
            raise EvaluatorError(f"objectives = {directions!r}: give a column, or columns with maximize or minimize")
        if runs not in ("mean", "one"):
            raise EvaluatorError(f'runs = {runs!r} is neither "mean" nor "one"')
        for name in (*directions, *report):
            _check_numbers(table, name)
        self.table = table
        self.objectives = tuple(Objective(name, direction) for name, direction in directions.items())
        self.report = tuple(report)
        self.runs = runs
        self._key = key

    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        """Returns the values of the objectives and of the `report` columns in the arch's row.

        Raises:
            ArchError: The arch does not belong to the space.
            EvaluatorError: The table has no row for the arch, or `key` does not support the space.
        """
        row = self.row(space, arch)
        names = (*(objective.name for objective in self.objectives), *self.report)
        return {name: self._score(row[name], trial) for name in dict.fromkeys(names)}

    def row(self, space: ModelSpace, arch: Arch) -> Row:
        """Returns the row of an arch as the table holds it, with all columns; several training runs are a tuple of numbers.

        Raises:
            ArchError: The arch does not belong to the space.
            EvaluatorError: The table has no row for the arch, or `key` does not support the space.
        """
        key = (self._key or default_key(space))(space, arch)
        if key not in self.table.rows:
            raise EvaluatorError(
                f"{self.table.source} has no arch {key!r}; its {len(self.table)} rows are named like "
                f"{next(iter(self.table.rows))!r}"
            )
        return self.table.rows[key]

    def _score(self, cell: Cell, trial: Trial) -> float:
        if not isinstance(cell, tuple):
            return float(cell)
        return sum(cell) / len(cell) if self.runs == "mean" else Random(trial.seed).choice(cell)


def _check_numbers(table: Table, name: str) -> None:
    for key, cell in table.column(name).items():
        if isinstance(cell, str) or any(map(math.isnan, cell if isinstance(cell, tuple) else (cell,))):
            raise EvaluatorError(f"{table.source}: column {name!r} of row {key!r} is {cell!r}, which is no number")
