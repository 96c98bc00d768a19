"""Defines the rows of the output, one for each image, and their columns; writes rows in CSV and JSON Lines."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubserve.package.predictions import Prediction

PATH, ERROR, FEATURES = "path", "error", "features"
"""Names of the columns that do not depend on the number of classes in a row."""


@dataclass(frozen=True)
class ImageRow:
    """The result for one image.

    Attributes:
        name: Path of the image, as `ListedImage.name`.
        predictions: The most likely classes, the most likely one first; empty if there is an error.
        features: Features of the image, (width,) float32; None if there is an error, or they were not asked for.
        error: Why the image has no result; None if it has one.
    """

    name: str
    predictions: tuple[Prediction, ...] = ()
    features: NDArray[np.float32] | None = None
    error: str | None = None


@dataclass(frozen=True)
class RowColumns:
    """The columns of an output.

    Attributes:
        top_k: Number of classes in a row.
        features: Whether a row has features.
    """

    top_k: int
    features: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """`path`; `label`, `probability` and `index`, then `label_2` and so on; `features` if there are any; and `error`."""
        classes = (f"{name}{_suffix(place)}" for place in range(self.top_k) for name in ("label", "probability", "index"))
        return (PATH, *classes, *((FEATURES,) if self.features else ()), ERROR)

    def values(self, row: ImageRow) -> dict[str, Any]:
        """Returns the value of each column by its name; None if the row has none. It may have at most `top_k` predictions."""
        found: dict[str, Any] = dict.fromkeys(self.names)
        found[PATH], found[ERROR] = row.name, row.error
        for place, prediction in enumerate(row.predictions):
            for name in ("label", "probability", "index"):
                found[f"{name}{_suffix(place)}"] = getattr(prediction, name)
        if self.features:
            found[FEATURES] = row.features
        return found


def _suffix(place: int) -> str:
    return f"_{place + 1}" if place else ""


def csv_lines(rows: Iterable[ImageRow], columns: RowColumns, *, header: bool) -> bytes:
    """Returns rows in CSV, UTF-8, with the names of the columns before them if `header` is True."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns.names, lineterminator="\n")
    quoting = csv.DictWriter(text, columns.names, lineterminator="\n", quoting=csv.QUOTE_ALL)
    if header:
        writer.writeheader()
    for row in rows:
        # Python's writer quotes the line ends that it writes itself, but readers take "\r" as one, too.
        has_return = "\r" in row.name or "\r" in (row.error or "")
        (quoting if has_return else writer).writerow(columns.values(row))
    return text.getvalue().encode()


def json_lines(rows: Iterable[ImageRow], columns: RowColumns) -> bytes:
    """Returns rows as JSON objects, one a line; columns without a value are left out."""
    return b"".join(_json_line(columns.values(row)) for row in rows)


def _json_line(values: dict[str, Any]) -> bytes:
    found = {name: value.tolist() if name == FEATURES else value for name, value in values.items() if value is not None}
    return json.dumps(found, ensure_ascii=False).encode() + b"\n"


def csv_names(lines: Iterable[str]) -> Iterator[str]:
    """Yields the path of each row of a CSV file that `csv_lines` wrote."""
    reader = csv.reader(lines)
    next(reader, None)
    for row in reader:
        yield row[0]


def json_names(lines: Iterable[str]) -> Iterator[str]:
    """Yields the path of each row of a file that `json_lines` wrote; the rest of a line, with features, is not parsed."""
    decoder = json.JSONDecoder()
    start = len(f'{{"{PATH}": ')
    for line in lines:
        yield decoder.raw_decode(line, start)[0]


def as_columns(rows: Sequence[ImageRow], columns: RowColumns) -> dict[str, list[Any]]:
    """Returns the values of each column, one for each row."""
    found = [columns.values(row) for row in rows]
    return {name: [values[name] for values in found] for name in columns.names}
