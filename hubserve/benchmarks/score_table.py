"""Tables of measured archs, one row of numbers for each, and how to read them from CSV and JSON files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hubserve.atomic import write_atomic
from hubserve.errors import EvaluatorError, suggest

Cell = float | str | tuple[float, ...]
"""Value of one column: a number, a text, or the numbers of several training runs."""

Row = Mapping[str, Cell]
"""Column -> value, for one arch."""


@dataclass(frozen=True)
class Table:
    """Rows of measured archs, each under the key of its arch.

    Attributes:
        source: File or description that error messages name.
        rows: Key of an arch -> its row; at least one. What a key looks like depends on the table; see `arch_keys`.

    Raises:
        EvaluatorError: There are no rows.
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
        """Names of the columns of the first row."""
        return tuple(next(iter(self.rows.values())))

    def column(self, name: str) -> dict[str, Cell]:
        """Key -> value of one column.

        Raises:
            EvaluatorError: There is no such column, or a row lacks it.
        """
        if name not in self.columns:
            raise EvaluatorError(f"{self.source} has no column {name!r}. {suggest(name, self.columns)}")
        try:
            return {key: row[name] for key, row in self.rows.items()}
        except KeyError:
            lacking = next(key for key, row in self.rows.items() if name not in row)
            raise EvaluatorError(f"{self.source}: row {lacking!r} has no {name!r}, which the first row has") from None

    def keyed_by(self, column: str) -> Table:
        """The same rows, with the values of `column` as keys.

        Raises:
            EvaluatorError: There is no such column, or two rows have the same value in it.
        """
        keys = [str(value) for value in self.column(column).values()]
        return Table(self.source, _unique(zip(keys, self.rows.values(), strict=True), self.source, column))

    def joined(self, other: Table) -> Table:
        """The rows of both tables in one, by key: accuracies together with latencies, for example.

        Args:
            other: Table that has a row for each key of this one; its further rows are left out.

        Raises:
            EvaluatorError: `other` lacks a row, or both tables have a column of the same name.
        """
        twice = sorted(set(self.columns) & set(other.columns))
        if twice:
            raise EvaluatorError(f"{self.source} and {other.source} both have the columns {', '.join(twice)}")
        lacking = next((key for key in self.rows if key not in other.rows), None)
        if lacking is not None:
            raise EvaluatorError(f"{other.source} has no row {lacking!r}, which {self.source} has; do both use the same keys?")
        return Table(f"{self.source} with {other.source}", {key: {**row, **other.rows[key]} for key, row in self.rows.items()})

    def write_json(self, path: Path) -> None:
        """Writes a file that `read_json` reads, which is smaller and faster to read than the published files."""
        write_atomic(path, json.dumps(self.rows, separators=(",", ":")))


def read_csv(path: Path, key: str = "arch") -> Table:
    """The table of a CSV file with a header.

    Args:
        path: The file, in UTF-8. A cell that reads as a number becomes one.
        key: Name of the column that has the keys of the archs.

    Raises:
        EvaluatorError: The file cannot be read, has no such column, has two columns of one name, a row of another length than
            the header, or two rows with the same key.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            header = reader.fieldnames or ()
            records = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluatorError(f"{path} is no CSV file that can be read: {error}") from error
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise EvaluatorError(f"{path} has two columns {twice!r}")
    for number, record in enumerate(records, 2):
        if None in record or None in record.values():
            raise EvaluatorError(f"{path}: row {number} does not have as many fields as the header")
    return _keyed(records, path, key)


def read_json(path: Path, key: str = "arch") -> Table:
    """The table of a JSON file: an object with a row for each key, or a list of rows.

    Args:
        path: The file, in UTF-8. A row is an object, column -> value; a list of numbers has the values of several runs.
        key: Name of the column that has the keys of the archs, in a list of rows.

    Raises:
        EvaluatorError: The file cannot be read, has neither of these two layouts, has two rows with the same key, or a row with
            two columns of the same name.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=partial(_object, path))
    except (OSError, ValueError, RecursionError) as error:
        raise EvaluatorError(f"{path} is no JSON file that can be read: {error}") from error
    if isinstance(data, dict) and all(isinstance(row, dict) for row in data.values()):
        return Table(str(path), {arch: {name: _cell(value) for name, value in row.items()} for arch, row in data.items()})
    if isinstance(data, list) and all(isinstance(row, dict) for row in data):
        return _keyed(data, path, key)
    raise EvaluatorError(f"{path} is neither an object of rows by arch nor a list of rows, each an object by column")


def _object(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The dict of a JSON object, whose names must differ: json itself would keep the last of two."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise EvaluatorError(f"{path}: {name!r} stands twice in one object, as the key of two rows or two columns of a row")
        found[name] = value
    return found


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
    try:
        if isinstance(value, list) and value and all(isinstance(run, (int, float)) for run in value):
            return tuple(map(float, value))
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return str(value)
