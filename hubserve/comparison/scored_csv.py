"""`read_scored_csv`, which makes a table of any CSV file with a row for each arch."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubserve.benchmarks.score_table import csv_records
from hubserve.comparison.benchmark_table import BenchmarkTable, Scores, table_of_rows
from hubserve.comparison.table_space import TableSpace
from hubserve.errors import EvaluatorError
from hubserve.similar_names import suggest
from hubserve.space import Arch

INTEGER = re.compile(r"0|-?[1-9][0-9]{0,14}")
DECIMAL = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,2})?")


@dataclass(frozen=True)
class ChosenValues:
    """Function that returns the key of an arch's row: the answers to some choices, in their order.

    Attributes:
        labels: Labels of the choices.
    """

    labels: tuple[str, ...]

    def __call__(self, arch: Arch) -> tuple[Any, ...]:
        """Returns the answers of `arch`."""
        return tuple(arch[label] for label in self.labels)


def read_scored_csv(path: Path, choices: Sequence[str], scores: Scores, *, name: str | None = None) -> BenchmarkTable:
    """Reads a table from a CSV file with a header and a row for each arch.

    The space is the product of the different values of each column of `choices`; an arch that has no row is invalid. The values
    of a column are integers if all of them are written as such, else decimal numbers if all are, else text; spaces around them
    are removed. Numbers are sorted, and so are texts.

    Args:
        path: The file, in UTF-8, which may be compressed with gzip.
        choices: Names of the columns that describe an arch.
        scores: Names of the columns with its scores, and their direction.
        name: Name of the table, for reports; None takes the name of the file.

    Raises:
        EvaluatorError: The file cannot be read, `choices` is empty, a column does not exist or is named for two purposes, a
            cell is empty or a score no finite number, two rows have the same values in all choices, or there is a single arch.
    """
    records = csv_records(path)
    _check_columns(path, list(records[0]), choices, scores)
    values = {column: _values(path, column, [record[column].strip() for record in records]) for column in choices}
    space = TableSpace(tuple((column, tuple(sorted(set(found)))) for column, found in values.items()))
    if space.grid_size < 2:
        raise EvaluatorError(f"{path}: every row has the same values of {', '.join(choices)}: there is nothing to search")
    rows: dict[Any, Mapping[str, float]] = {}
    lines: dict[Any, int] = {}
    for number, record in enumerate(records):
        key = tuple(found[number] for found in values.values())
        if key in rows:
            arch = ", ".join(f"{column} = {value}" for column, value in zip(choices, key, strict=True))
            raise EvaluatorError(f"{path}: rows {lines[key]} and {number + 2} are both of the arch {arch}")
        lines[key] = number + 2
        rows[key] = {column: _number(path, lines[key], column, record[column]) for column in scores.columns}
    return table_of_rows(name or path.name, space, ChosenValues(tuple(choices)), rows, scores)


def _check_columns(path: Path, header: list[str], choices: Sequence[str], scores: Scores) -> None:
    if not choices:
        raise EvaluatorError(f"{path}: name the columns that describe an arch as choices. {suggest('', header)}")
    for column in (*choices, *scores.columns):
        if column not in header:
            raise EvaluatorError(f"{path} has no column {column!r}. {suggest(column, header)}")
    for column in choices:
        if choices.count(column) > 1 or column in scores.columns:
            raise EvaluatorError(f"{path}: column {column!r} is named twice; a choice is no score, and is named once")
    if len(set(scores.drive)) < len(scores.drive) or scores.minimize in scores.drive:
        raise EvaluatorError(f"{path}: the driving columns {', '.join(scores.drive)} must differ, and from the one to minimize")


def _values(path: Path, column: str, texts: list[str]) -> list[Any]:
    """Returns the values of a column of choices as numbers if all of them are numbers, else unchanged."""
    if "" in texts:
        raise EvaluatorError(f"{path}: row {texts.index('') + 2} has no value in the column {column!r}")
    if all(map(INTEGER.fullmatch, texts)):
        return list(map(int, texts))
    return list(map(float, texts)) if all(map(DECIMAL.fullmatch, texts)) else texts


def _number(path: Path, line: int, column: str, text: str) -> float:
    text = text.strip()
    if not DECIMAL.fullmatch(text):
        found = "is empty" if not text else f"is {text[:40]!r}"
        raise EvaluatorError(f"{path}: row {line} {found} in the column {column!r}, where a number is needed")
    return float(text)
