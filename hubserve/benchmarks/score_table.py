"""Tables of measured archs: rows of numbers by a key that names the arch."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hubserve.atomic import write_atomic
from hubserve.errors import EvaluatorError, suggest

Cell = float | str | tuple[float, ...]
"""A number, a text, or the numbers of several runs."""

Row = Mapping[str, Cell]


@dataclass(frozen=True)
class Table:
    """Rows by key, each row a value by column.

    Attributes:
        source: where it comes from, for messages.
        rows: key -> column -> value.
    """

    source: str
    rows: Mapping[str, Row] = field(repr=False)

    def __post_init__(self) -> None:
        if not self.rows:
            raise EvaluatorError(f"{self.source} holds no rows")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the first row."""
        return tuple(next(iter(self.rows.values())))

    def column(self, name: str) -> dict[str, Cell]:
        """Key -> value of one column.

        Raises:
            EvaluatorError: no such column, or a row without it.
        """
        if name not in self.columns:
            raise EvaluatorError(f"{self.source} has no column {name!r}. {suggest(name, self.columns)}")
        try:
            return {key: row[name] for key, row in self.rows.items()}
        except KeyError:
            lacking = next(key for key, row in self.rows.items() if name not in row)
            raise EvaluatorError(f"{self.source}: row {lacking!r} has no {name!r}, which the first row has") from None

    def keyed_by(self, column: str) -> Table:
        """The same rows under the values of `column`.

        Raises:
            EvaluatorError: no such column, or two rows with one value.
        """
        keys = [str(value) for value in self.column(column).values()]
        return Table(self.source, _unique(zip(keys, self.rows.values(), strict=True), self.source, column))

    def joined(self, other: Table) -> Table:
        """The rows with the columns of `other`'s rows of the same key added: accuracies with latencies, say.

        Raises:
            EvaluatorError: `other` lacks a row, or both have a column.
        """
        twice = sorted(set(self.columns) & set(other.columns))
        if twice:
            raise EvaluatorError(f"{self.source} and {other.source} both have the columns {', '.join(twice)}")
        lacking = next((key for key in self.rows if key not in other.rows), None)
        if lacking is not None:
            raise EvaluatorError(f"{other.source} has no row {lacking!r}, which {self.source} has; are both keyed alike?")
        return Table(f"{self.source} with {other.source}", {key: {**row, **other.rows[key]} for key, row in self.rows.items()})

    def write_json(self, path: Path) -> None:
        """A file that `read_json` reads: small and quick where the original is large."""
        write_atomic(path, json.dumps(self.rows, separators=(",", ":")))


def read_csv(path: Path, key: str = "arch") -> Table:
    """A CSV file with a header; `key` is the column that names the arch. What reads as a number is one.

    Raises:
        EvaluatorError: no such file or column, a row of another length, or two rows with one key.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, restkey="", strict=True)
            records = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluatorError(f"{path} is no CSV file that can be read: {error}") from error
    for number, record in enumerate(records, 2):
        if "" in record or None in record.values():
            raise EvaluatorError(f"{path}: row {number} has not as many fields as the header")
    return _keyed(records, path, key)


def read_json(path: Path, key: str = "arch") -> Table:
    """A JSON file: an object of rows by key, or a list of rows whose `key` names the arch. Lists of numbers are several runs.

    Raises:
        EvaluatorError: no such file, another form, or two rows with one key.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EvaluatorError(f"{path} is no JSON file that can be read: {error}") from error
    if isinstance(data, dict) and all(isinstance(row, dict) for row in data.values()):
        return Table(str(path), {arch: {name: _cell(value) for name, value in row.items()} for arch, row in data.items()})
    if isinstance(data, list) and all(isinstance(row, dict) for row in data):
        return _keyed(data, path, key)
    raise EvaluatorError(f"{path} is neither an object of rows by arch nor a list of rows, each an object by column")


def _keyed(records: Iterable[Mapping[str, Any]], path: Path, key: str) -> Table:
    found = []
    for record in records:
        if key not in record:
            raise EvaluatorError(f"{path} has no column {key!r} to name the archs. {suggest(key, map(str, record))}")
        found.append((str(record[key]), {name: _cell(value) for name, value in record.items() if name != key}))
    return Table(str(path), _unique(found, str(path), key))


def _unique(rows: Iterable[tuple[str, Row]], source: str, key: str) -> dict[str, Row]:
    unique: dict[str, Row] = {}
    for name, row in rows:
        if name in unique:
            raise EvaluatorError(f"{source}: two rows have the {key} {name!r}")
        unique[name] = row
    return unique


def _cell(value: Any) -> Cell:
    if isinstance(value, list) and value and all(isinstance(run, (int, float)) for run in value):
        return tuple(float(run) for run in value)
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)
