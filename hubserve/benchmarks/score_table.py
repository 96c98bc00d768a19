"""`Table`, the scores of archs with one row for each arch, and functions that read it from CSV and JSON files."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hubserve.atomic import write_atomic
from hubserve.errors import EvaluatorError
from hubserve.similar_names import suggest

Cell = float | str | tuple[float, ...]
"""The value in one column of a row: a number, a text, or a tuple with the numbers of several training runs."""

Row = Mapping[str, Cell]
"""Maps the columns to their values, for one arch."""


@dataclass(frozen=True)
class Table:
    """The scores of archs: a row for each arch, under the arch's key.

    Attributes:
        source: Name of the file, or another description of the table, for error messages.
        rows: Maps the key of each arch to its row; not empty. The format of keys depends on the table; see `arch_keys`.

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
        """The names of the columns of the first row."""
        return tuple(next(iter(self.rows.values())))

    def column(self, name: str) -> dict[str, Cell]:
        """Returns the values of one column by key.

        Raises:
            EvaluatorError: The first row has no such column, or another row lacks it.
        """
        if name not in self.columns:
            raise EvaluatorError(f"{self.source} has no column {name!r}. {suggest(name, self.columns)}")
        try:
            return {key: row[name] for key, row in self.rows.items()}
        except KeyError:
            lacking = next(key for key, row in self.rows.items() if name not in row)
            raise EvaluatorError(f"{self.source}: row {lacking!r} has no {name!r}, which the first row has") from None

    def keyed_by(self, column: str) -> Table:
        """Returns a table with the same rows, whose keys are the values of `column` as text.

        Raises:
            EvaluatorError: There is no such column, or two rows have the same value in it.
        """
        keys = [str(value) for value in self.column(column).values()]
        return Table(self.source, _unique(zip(keys, self.rows.values(), strict=True), self.source, column))

    def joined(self, other: Table) -> Table:
        """Returns a table whose rows have the columns of both tables, matched by key, e.g. accuracies together with latencies.

        Args:
            other: A table with a row for each key of this one; its other rows are left out.

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
        """Writes the table to a JSON file for `read_json`, which is smaller and faster to read than the published files.

        Raises:
            OSError: The file cannot be written (StorageError for a full, read-only or forbidden disk).
        """
        write_atomic(path, json.dumps(self.rows, separators=(",", ":")))


def read_csv(path: Path, key: str = "arch") -> Table:
    """Reads a table from a CSV file with a header.

    Args:
        path: The file, in UTF-8, which may be compressed with gzip, whatever its name is. A cell that `float` accepts, such as
            "nan" or "inf", becomes a float; other cells stay text.
        key: Name of the column with the keys of the archs, which stay as they are written ("01"). The rows do not have it.

    Raises:
        EvaluatorError: The file cannot be read or has no rows, has no such column or two columns of the same name, a row has
            another number of fields than the header, or two rows have the same key.
    """
    return _keyed(csv_records(path), path, key)


def csv_records(path: Path) -> list[dict[str, str]]:
    """Reads the rows of a CSV file with a header, each as a dict of texts by column; no cell is converted.

    Args:
        path: The file, in UTF-8, which may begin with a byte order mark and may be compressed with gzip, whatever its name is.

    Raises:
        EvaluatorError: The file cannot be read or has no rows, has two columns of the same name, or a row has another number of
            fields than the header.
    """
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
        with (gzip.open if compressed else open)(path, "rt", newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text, strict=True)
            header = reader.fieldnames or ()
            records: list[dict[str, str]] = list(reader)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise EvaluatorError(f"{path} is no CSV file that can be read: {error}") from error
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise EvaluatorError(f"{path} has two columns {twice!r}")
    for number, record in enumerate(records, 2):
        if None in record or None in record.values():
            raise EvaluatorError(f"{path}: row {number} does not have as many fields as the header")
    if not records:
        raise EvaluatorError(f"{path} holds no rows")
    return records


def read_json(path: Path, key: str = "arch") -> Table:
    """Reads a table from a JSON file: an object with a row for each key, or a list of rows.

    Args:
        path: The file, in UTF-8. A row is an object that maps columns to values; a list of numbers has the values of several
            runs. A text that can be parsed as a number becomes one, and other values become texts.
        key: Name of the column with the keys of the archs, if the file is a list of rows.

    Raises:
        EvaluatorError: The file cannot be read, has neither of these layouts, has no rows, has two rows with the same key, a
            row without a key, or a row with two columns of the same name.
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
    """Returns the dict of a JSON object; the `json` module itself would keep only the last of two equal names.

    Raises:
        EvaluatorError: Two names of the object are the same.
    """
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
