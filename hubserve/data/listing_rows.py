"""`read_rows`: reads the rows of listings, which are CSV, TSV and Parquet files, and checks their columns, labels and parts."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hubserve.data.names import Part, part_of, quoted, shown
from hubserve.errors import DatasetError, MissingExtraError
from hubserve.similar_names import suggest

ENDINGS = (".csv", ".tsv", ".parquet")
"""Suffixes of the file names of listings, in lower case."""


DELIMITERS = {".csv": ",;\t", ".tsv": "\t"}
"""Suffix of a listing -> its possible delimiters between columns; the one that occurs most often in the first line is used."""


class Columns(NamedTuple):
    """The names of the columns of a listing, or of a data set of the Hugging Face hub.

    None means that the column is found by the usual names; see `USUAL_NAMES`.

    Attributes:
        image: Name of the column with the paths of the images, relative to the folder of the listing. In a data set of the hub,
            this column holds the images themselves.
        label: Name of the column with the classes.
        part: Name of the column with the parts: train, val or test, or another name that `part_of` knows. It is not used for
            data sets of the hub, whose splits are the parts.
        text: Name of the column with the texts, in a listing of texts, which has no column of images.
    """

    image: str | None = None
    label: str | None = None
    part: str | None = None
    text: str | None = None


USUAL = Columns()
"""The default: all columns are found by their usual names."""


USUAL_NAMES: Mapping[str, Sequence[str]] = {
    "image": ("path", "file", "filename", "file_name", "image", "image_path"),
    "label": ("label", "class", "category", "target"),
    "part": ("split", "part", "subset"),
    "text": ("text", "sentence", "review", "content"),
}
"""Field of `Columns` -> names by which its column is found, regardless of case. The first name has precedence."""


class Row(NamedTuple):
    """One row of a listing.

    Attributes:
        number: Number of the row, as spreadsheets count: row 1 holds the column names, and empty rows count.
        first: Path or text.
        label: As it is written; None if there is no column of labels.
        part: As it is written; None if there is no column of parts.
    """

    number: int
    first: str
    label: Any
    part: Any


First = Literal["image", "text"]
"""What `Row.first` is, as the field of `Columns` that names its column."""


def is_listing(path: Path) -> bool:
    """Returns whether the name of a file ends in .csv, .tsv or .parquet, regardless of case."""
    return path.suffix.lower() in ENDINGS


def read_rows(path: Path, columns: Columns, *, labelled: bool = True, first: First = "image") -> Iterator[Row]:
    """Yields the rows of a listing, except empty ones.

    Args:
        path: The listing.
        columns: Names of its columns.
        labelled: Whether a column of labels is needed.
        first: Whether the first value of a row is the path of an image or a text.

    Raises:
        DatasetError: The file cannot be read, lacks a column, or has a row with another number of values than columns, or one
            whose path or text is something else than text.
        MissingExtraError: The listing is a Parquet file, and pyarrow is not installed.
    """
    read = _parquet_rows if path.suffix.lower() == ".parquet" else _csv_rows
    return read(path, columns, labelled=labelled, first=first)


def _csv_rows(path: Path, columns: Columns, *, labelled: bool = True, first: First = "image") -> Iterator[Row]:
    """Yields the rows of a CSV or TSV listing, except empty ones.

    Raises:
        DatasetError: The file cannot be read, lacks a column, or has a row with another number of values than columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            delimiter = max(DELIMITERS.get(path.suffix.lower(), ","), key=header.count)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            names = next(reader, [])
            places = [
                None if name is None else names.index(name)
                for name in choose_columns(names, columns, path, labelled=labelled, first=first)
            ]
            for number, row in enumerate(reader, 2):
                if not any(row):
                    continue
                if len(row) != len(names):
                    raise DatasetError(
                        f"{shown(path)}, line {reader.line_num}: {len(row)} values, and the first line names "
                        f"{len(names)} columns"
                    )
                image, label, part = (None if place is None else row[place] for place in places)
                yield Row(number, str(image), label, part)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{shown(path)} is not UTF-8 ({error}); save it as UTF-8") from error
    except csv.Error as error:
        raise DatasetError(f"{shown(path)} is not a CSV file: {error}") from error
    except OSError as error:
        raise DatasetError(f"{shown(path)} cannot be read: {error.strerror}") from error


def _parquet_rows(path: Path, columns: Columns, *, labelled: bool = True, first: First = "image") -> Iterator[Row]:
    """Yields the rows of a Parquet listing.

    Raises:
        DatasetError: The file cannot be read, lacks a column, or its column of paths or texts holds something else than text.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        # Imported here, because pyarrow is an optional dependency.
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise MissingExtraError("reading Parquet needs pyarrow: pip install 'hubserve[parquet]'") from error
    try:
        with parquet.ParquetFile(path) as file:
            numbers = count(2)
            chosen = choose_columns(file.schema_arrow.names, columns, path, labelled=labelled, first=first)
            wanted = [name for name in chosen if name is not None]
            for batch in file.iter_batches(columns=wanted):
                values = [[None] * len(batch) if name is None else batch.column(name).to_pylist() for name in chosen]
                for image, label, part in zip(*values, strict=True):
                    if not isinstance(image, str) and first == "text":
                        raise DatasetError(f"{shown(path)}: the column {chosen[0]} holds a {type(image).__name__}, and no text")
                    if not isinstance(image, str):
                        raise DatasetError(
                            f"{shown(path)}: the column {chosen[0]} holds a {type(image).__name__}; paths of files are "
                            "expected, and data sets with the images in them are read with hf"
                        )
                    yield Row(next(numbers), image, label, part)
    except (ArrowException, OSError) as error:
        raise DatasetError(f"{shown(path)} is not a readable Parquet file: {str(error).splitlines()[0]}") from error


def choose_columns(
    names: Sequence[str], columns: Columns, where: object, *, labelled: bool = True, first: First = "image"
) -> tuple[str, str | None, str | None]:
    """Returns the names of the columns of images or texts, labels and parts; the last one is None if there is none of parts.

    Args:
        names: Names of all columns.
        columns: Names that the user gave.
        where: Path or name of the listing or data set, for error messages.
        labelled: Whether a column of labels is needed. If not, the name of that column may be None.
        first: Whether the first column is one of images or of texts.

    Raises:
        DatasetError: A column is missing, or several columns have a usual name and it is not clear which one is meant.
    """
    image, label = (_column(names, columns, field, where) for field in (first, "label"))
    if image is None or (label is None and labelled):
        missing = first if image is None else "label"
        raise DatasetError(
            f"{shown(str(where))} has the columns {', '.join(map(quoted, names))}, and none for the {missing}s; its first line "
            f"must name one {' or '.join(USUAL_NAMES[missing])}, or give {missing}_column"
        )
    return image, label, _column(names, columns, "part", where)


def _column(names: Sequence[str], columns: Columns, field: str, where: object) -> str | None:
    """Returns the name of the column for one field of `Columns`; None if the user gave none and no column has a usual name.

    Raises:
        DatasetError: The column that the user gave is missing, or several columns have a usual name.
    """
    given = getattr(columns, field)
    if given is not None:
        if given not in names:
            raise DatasetError(f"{shown(str(where))} has no column {given!r}. {suggest(given, names)}")
        return str(given)
    usual = USUAL_NAMES[field]
    found = [name for name in names if name.strip().casefold() in usual]
    first = [name for name in found if name.strip().casefold() == usual[0]]
    if len(found) > 1 and len(first) != 1:
        raise DatasetError(
            f"{shown(str(where))} has the columns {', '.join(map(quoted, found))}, and one of the {field}s is expected; give "
            f"{field}_column"
        )
    return next(iter(first or found), None)


def is_divided(path: Path, rows: Sequence[Row]) -> bool:
    """Returns True if all rows have a part, False if none has one.

    Raises:
        DatasetError: Some rows have a part and others do not.
    """
    empty = [row.number for row in rows if row.part is None or not str(row.part).strip()]
    if empty and len(empty) < len(rows):
        raise DatasetError(
            f"{shown(path)}: {len(empty):,} of {len(rows):,} rows have no part, the first is row {empty[0]}; write train, val "
            "or test in each row, or in none"
        )
    return not empty


def label_of(path: Path, number: int, label: Any) -> str:
    """Returns the label of row `number` as text without surrounding spaces.

    Raises:
        DatasetError: The label is empty, or neither a text nor an int.
    """
    if isinstance(label, str) and label.strip():
        return label.strip()
    if isinstance(label, int):
        return str(label)
    found = "no label" if label is None or label == "" else f"the label {label!r}, a {type(label).__name__}"
    raise DatasetError(f"{shown(path)}, row {number} has {found}; labels are texts or whole numbers")


def part_of_row(path: Path, number: int, value: Any) -> Part:
    """Returns the part that the value in row `number` stands for.

    Raises:
        DatasetError: The value stands for no part.
    """
    part = part_of(str(value).strip())
    if part is None:
        raise DatasetError(
            f"{shown(path)}, row {number}: the part {value!r} is none of train, val and test. "
            f"{suggest(str(value), ('train', 'val', 'test'))}"
        )
    return part
