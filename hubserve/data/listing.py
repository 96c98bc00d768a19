"""Reads listings: CSV, TSV and Parquet files in which each row names an image file, its class and optionally its part."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple
from unicodedata import normalize

from hubserve.data.folder_walk import LeftOut, named
from hubserve.data.layout import Classes, Layout
from hubserve.data.names import Part, class_names, part_of, quoted, shown
from hubserve.error_messages import suggest
from hubserve.errors import DatasetError, MissingExtraError

ENDINGS = (".csv", ".tsv", ".parquet")
"""Suffixes of the file names of listings, in lower case."""

DELIMITERS = {".csv": ",;\t", ".tsv": "\t"}
"""Suffix of a listing -> its possible delimiters between columns; the one that occurs most often in the first line is used."""

MOST_MISSING = 0.5
"""Largest share of rows whose files may be missing; above it, `listing_layout` raises DatasetError."""


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

Row = tuple[str, Any, Any]
"""Triple (path or text, label, part) of one row; the part is None if there is no column of parts."""

First = Literal["image", "text"]
"""What the first of a `Row` is, as the field of `Columns` that names its column."""


class TextRow(NamedTuple):
    """One text of a data set, before its part is decided.

    Attributes:
        file: Path relative to the folder of the data set, or "row 5" of a listing.
        text: The text.
        label: Name of its class.
        part: Part that the user gives; None if the data set is not divided into parts.
    """

    file: str
    text: str
    label: str
    part: Part | None


def is_listing(path: Path) -> bool:
    """Returns whether the name of a file ends in .csv, .tsv or .parquet, regardless of case."""
    return path.suffix.lower() in ENDINGS


def listing_layout(path: Path, columns: Columns = USUAL, *, roots: Sequence[Path] | None = None) -> Layout:
    """Returns the image files that a listing names, by part and class; paths in it are relative to its folder.

    Args:
        path: The listing.
        columns: Names of its columns.
        roots: Folders below which all files must lie after symbolic links are resolved; None allows all files.

    Raises:
        DatasetError: The listing cannot be read, has no rows, lacks a column, has a label or part that is not allowed, or gives
            a file two classes or parts; more than half of its files are missing; or a file lies outside of `roots`.
        MissingExtraError: The listing is a Parquet file, and pyarrow is not installed.
    """
    rows = list(_parquet_rows(path, columns) if path.suffix.lower() == ".parquet" else _csv_rows(path, columns))
    if not rows:
        raise DatasetError(f"{shown(path)} names no image: it has no rows")
    divided = _is_divided(path, rows)
    labels = [_label(path, number, label) for number, (_, label, _) in _numbered(rows)]
    names = class_names(list(dict.fromkeys(labels)), shown(path))
    found: dict[Path, tuple[str, Part | None, int]] = {}
    left_out: list[LeftOut] = []
    repeated = 0
    for (number, (text, _, split)), label in zip(_numbered(rows), labels, strict=True):
        part = _part(path, number, split) if divided else None
        file = _existing(path, number, text, roots)
        if file is None:
            left_out.append(LeftOut(shown(text), "missing"))
            continue
        before = found.setdefault(file, (names[label], part, number))
        repeated += before[2] != number
        if before[:2] != (names[label], part):
            raise DatasetError(
                f"{shown(path)}: rows {before[2]} and {number} both name {shown(text)}, once as {quoted(before[0])} "
                f"({before[1] or 'no part'}) and once as {quoted(names[label])} ({part or 'no part'}); keep one of them"
            )
    if len(left_out) > MOST_MISSING * len(rows):
        raise DatasetError(
            f"{shown(path)}: {len(left_out):,} of {len(rows):,} files are missing: {named(e.file for e in left_out)}; paths "
            f"are relative to {shown(path.parent)}"
        )
    notes = [f"{repeated:,} rows of {shown(path.name)} repeat an earlier one"] if repeated else []
    return Layout(path.parent, _parts(found), left_out, notes)


def text_rows(path: Path, columns: Columns = USUAL) -> list[TextRow]:
    """Returns the texts in a listing that has the columns text and label, and may have split.

    Raises:
        DatasetError: The listing cannot be read, has no rows, lacks a column, or has a label or part that is not allowed.
        MissingExtraError: The listing is a Parquet file, and pyarrow is not installed.
    """
    read = _parquet_rows if path.suffix.lower() == ".parquet" else _csv_rows
    rows = list(read(path, columns, first="text"))
    if not rows:
        raise DatasetError(f"{shown(path)} has no text: it has no rows")
    divided = _is_divided(path, rows)
    labels = [_label(path, number, label) for number, (_, label, _) in _numbered(rows)]
    names = class_names(list(dict.fromkeys(labels)), shown(path))
    return [
        TextRow(f"row {number}", text, names[label], _part(path, number, split) if divided else None)
        for (number, (text, _, split)), label in zip(_numbered(rows), labels, strict=True)
    ]


def listed_files(path: Path) -> Iterator[tuple[str, Path | None]]:
    """Yields, for each row of a listing, the path as it is written there, and the file; None if there is no such file.

    A listing without a column of labels is accepted. Columns are found by their usual names.

    Raises:
        DatasetError: The listing cannot be read, or has no column of paths.
        MissingExtraError: It is a Parquet file, and pyarrow is not installed.
    """
    read = _parquet_rows if path.suffix.lower() == ".parquet" else _csv_rows
    for number, (text, _, _) in enumerate(read(path, USUAL, labelled=False), 2):
        try:
            yield text, _existing(path, number, text, None)
        except DatasetError:  # No path of a file, such as an address.
            yield text, None


def _parts(found: Mapping[Path, tuple[str, Part | None, int]]) -> dict[Part | None, Classes]:
    """Returns the files by part and class, sorted; `found` maps each file to its class, its part and its row number."""
    parts: dict[Part | None, dict[str, list[Path]]] = {}
    for file, (name, part, _) in sorted(found.items()):
        parts.setdefault(part, {}).setdefault(name, []).append(file)
    return {part: dict(sorted(classes.items())) for part, classes in parts.items()}


def _numbered(rows: Sequence[Row]) -> Iterator[tuple[int, Row]]:
    """Yields each row with its number in the file; row 1 holds the names of the columns."""
    return enumerate(rows, 2)


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
            for row in reader:
                if not any(row):
                    continue
                if len(row) != len(names):
                    raise DatasetError(
                        f"{shown(path)}, line {reader.line_num}: {len(row)} values, and the first line names "
                        f"{len(names)} columns"
                    )
                image, label, part = (None if place is None else row[place] for place in places)
                yield str(image), label, part
    except UnicodeDecodeError as error:
        raise DatasetError(f"{shown(path)} is not UTF-8 ({error}); save it as UTF-8") from error
    except csv.Error as error:
        raise DatasetError(f"{shown(path)} is not a CSV file: {error}") from error
    except OSError as error:
        raise DatasetError(f"{shown(path)} cannot be read: {error.strerror}") from error


def _parquet_rows(path: Path, columns: Columns, *, labelled: bool = True, first: First = "image") -> Iterator[Row]:
    """Yields the rows of a Parquet listing.

    Raises:
        DatasetError: The file cannot be read, lacks a column, or its column of paths holds something else than text.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        # Imported here, because pyarrow is an optional dependency.
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise MissingExtraError("reading Parquet needs pyarrow: pip install 'hubserve[parquet]'") from error
    try:
        with parquet.ParquetFile(path) as file:
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
                    yield image, label, part
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


def _is_divided(path: Path, rows: Sequence[Row]) -> bool:
    """Returns True if all rows have a part, False if none has one.

    Raises:
        DatasetError: Some rows have a part and others do not.
    """
    empty = [number for number, (_, _, part) in _numbered(rows) if part is None or not str(part).strip()]
    if empty and len(empty) < len(rows):
        raise DatasetError(
            f"{shown(path)}: {len(empty):,} of {len(rows):,} rows have no part, the first is row {empty[0]}; write train, val "
            "or test in each row, or in none"
        )
    return not empty


def _label(path: Path, number: int, label: Any) -> str:
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


def _part(path: Path, number: int, value: Any) -> Part:
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


def _existing(listing: Path, number: int, text: str, roots: Sequence[Path] | None) -> Path | None:
    """Returns the path of the file that a row names; None if there is no such file.

    Args:
        listing: Path of the listing.
        number: Number of the row, for error messages.
        text: Text of the row that names the file, relative to the folder of the listing.
        roots: Folders below which the file must lie; None allows all files.

    Raises:
        DatasetError: The text is empty, a URL or not a path, or the file lies outside of `roots`.
    """
    if not text.strip() or "\0" in text or "://" in text:
        raise DatasetError(f"{shown(listing)}, row {number}: {quoted(text)} is not the path of a file" + _download_advice(text))
    # File systems differ in how they encode accents in file names, and listings from Windows have backslashes.
    spellings = dict.fromkeys((text, normalize("NFC", text), normalize("NFD", text), text.replace("\\", "/")))
    files = [listing.parent / spelling for spelling in spellings]
    # All of them first, so that the message is the same whether a file outside exists or not.
    if roots is not None and not all(_is_below(file, roots) for file in files):
        raise DatasetError(f"row {number} names a file outside of the folders that this server allows for data")
    return next((file for file in files if file.is_file()), None)


def _is_below(file: Path, roots: Sequence[Path]) -> bool:
    real = Path(os.path.realpath(file))
    return any(real.is_relative_to(os.path.realpath(root)) for root in roots)


def _download_advice(text: str) -> str:
    """Returns advice that ends an error message if `text` is a URL; else an empty string."""
    return "; addresses are not downloaded: fetch the file first" if "://" in text else ""
