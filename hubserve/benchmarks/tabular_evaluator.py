"""An evaluator that looks scores up in a table, so that a search takes seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Literal

from hubserve.benchmarks.arch_keys import ArchKey, default_key
from hubserve.benchmarks.score_table import Cell, Row, Table
from hubserve.errors import EvaluatorError
from hubserve.space import Arch, ModelSpace
from hubserve.training.evaluator import Direction, Evaluator, Objective, Trial


class TabularEvaluator(Evaluator):
    """Scores of archs by table: `read_csv`, `read_json`, `read_nasbench101` and `read_nasbench201` read one.

    >>> table = read_csv(folder / "nb201.csv")
    >>> TabularEvaluator(table, "c100_val_12ep", report=["c100_test_12ep"])
    >>> TabularEvaluator(table.joined(latencies), {"c100_val_12ep": "maximize", "gold_6226": "minimize"})

    Args:
        table: of the space that is searched.
        objectives: the columns that drive the search, with their directions; a bare name is to be maximized.
        report: columns that are among the scores but drive nothing: the test accuracy, for one.
        key: how the table names an arch; by default arch strings for NasBench201, digests for NasBench101, else digits.
        runs: what several runs of one arch count: their "mean", or "one" of them, which the trial's seed picks.

    Raises:
        EvaluatorError: the table lacks a column, or a column is no number everywhere.
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
            _hold_to_numbers(table, name)
        self.table = table
        self.objectives = tuple(Objective(name, direction) for name, direction in directions.items())
        self.report = tuple(report)
        self.runs = runs
        self._key = key

    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        """The columns that were asked for, of the arch's row.

        Raises:
            EvaluatorError: the table has no such arch.
        """
        row = self.row(space, arch)
        names = (*(objective.name for objective in self.objectives), *self.report)
        return {name: self._score(row[name], trial) for name in dict.fromkeys(names)}

    def row(self, space: ModelSpace, arch: Arch) -> Row:
        """All that the table has of an arch.

        Raises:
            EvaluatorError: nothing.
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


def _hold_to_numbers(table: Table, name: str) -> None:
    for key, cell in table.column(name).items():
        if isinstance(cell, str) or cell != cell:
            raise EvaluatorError(f"{table.source}: column {name!r} of row {key!r} is {cell!r}, which is no number")
