"""The evaluator that looks scores up in a table, so that a search takes seconds."""

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
    """Scores archs by their rows in a table, which `read_csv`, `read_json`, `read_nasbench101` or `read_nasbench201` reads.

    >>> table = read_csv(folder / "nb201.csv")
    >>> TabularEvaluator(table, "c100_val_12ep", report=["c100_test_12ep"])
    >>> TabularEvaluator(table.joined(latencies), {"c100_val_12ep": "maximize", "gold_6226": "minimize"})

    Args:
        table: Table with a row for each arch of the space that is searched.
        objectives: Column -> direction, for the columns that the search improves; a name alone is maximized.
        report: Further columns that are among the scores, and that the search does not use, such as the test accuracy.
        key: Function from a space and an arch to the key of the arch's row; None takes arch strings for NasBench201, digests
            for NasBench101, and digits for other spaces.
        runs: Score of an arch with several training runs: their "mean", or "one" of them, drawn with the trial's seed.

    Raises:
        EvaluatorError: The table lacks a column, a row of it has no number there, or an argument has another value.
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
        """The objectives and the reported columns of the arch's row.

        Raises:
            EvaluatorError: The table has no such arch.
        """
        row = self.row(space, arch)
        names = (*(objective.name for objective in self.objectives), *self.report)
        return {name: self._score(row[name], trial) for name in dict.fromkeys(names)}

    def row(self, space: ModelSpace, arch: Arch) -> Row:
        """The whole row of an arch.

        Raises:
            EvaluatorError: The table has no such arch.
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
