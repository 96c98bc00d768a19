"""`text_rows`: reads the texts in a listing, with the class of each and perhaps its part."""

from pathlib import Path
from typing import NamedTuple

from hubserve.data.listing_rows import USUAL, Columns, is_divided, label_of, part_of_row, read_rows
from hubserve.data.names import Part, class_names, shown
from hubserve.errors import DatasetError


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


def text_rows(path: Path, columns: Columns = USUAL) -> list[TextRow]:
    """Returns the texts in a listing that has the columns text and label, and may have split.

    Args:
        path: The listing.
        columns: Names of its columns; None in place of a name finds the column by its usual names.

    Raises:
        DatasetError: The listing cannot be read, has no rows, lacks a column, or has a label or part that is not allowed.
        MissingExtraError: The listing is a Parquet file, and pyarrow is not installed.
    """
    rows = list(read_rows(path, columns, first="text"))
    if not rows:
        raise DatasetError(f"{shown(path)} has no text: it has no rows")
    divided = is_divided(path, rows)
    labels = [label_of(path, row.number, row.label) for row in rows]
    names = class_names(list(dict.fromkeys(labels)), shown(path))
    return [
        TextRow(f"row {row.number}", row.first, names[label], part_of_row(path, row.number, row.part) if divided else None)
        for row, label in zip(rows, labels, strict=True)
    ]
