"""Reads listings of images: CSV, TSV and Parquet files that name an image file, its class and perhaps its part in each row."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from unicodedata import normalize

from hubserve.data.folder_walk import LeftOut, named
from hubserve.data.layout import Classes, Layout
from hubserve.data.listing_rows import USUAL, Columns, is_divided, label_of, part_of_row, read_rows
from hubserve.data.names import Part, class_names, quoted, shown
from hubserve.errors import DatasetError

MOST_MISSING = 0.5
"""Largest share of rows whose files may be missing; above it, `listing_layout` raises DatasetError."""


def listing_layout(path: Path, columns: Columns = USUAL, *, roots: Sequence[Path] | None = None) -> Layout:
    """Returns the image files that a listing names, by part and class; paths in it are relative to its folder.

    Files that do not exist are in `Layout.left_out`.

    Args:
        path: The listing.
        columns: Names of its columns.
        roots: Folders below which all files must lie after symbolic links are resolved; None allows all files.

    Raises:
        DatasetError: The listing cannot be read, has no rows, lacks a column, has a label or part that is not allowed, a path
            that is empty or a URL, or gives a file two classes or parts; more than half of its files are missing; or a file
            lies outside of `roots`.
        MissingExtraError: The listing is a Parquet file, and pyarrow is not installed.
    """
    rows = list(read_rows(path, columns))
    if not rows:
        raise DatasetError(f"{shown(path)} names no image: it has no rows")
    divided = is_divided(path, rows)
    labels = [label_of(path, row.number, row.label) for row in rows]
    names = class_names(list(dict.fromkeys(labels)), shown(path))
    found: dict[Path, tuple[str, Part | None, int]] = {}
    left_out: list[LeftOut] = []
    repeated = 0
    for (number, text, _, split), label in zip(rows, labels, strict=True):
        part = part_of_row(path, number, split) if divided else None
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


def listed_files(path: Path) -> Iterator[tuple[str, Path | None]]:
    """Yields, for each row of a listing, the path as it is written there, and the file; None if there is no such file.

    A listing without a column of labels is accepted. Columns are found by their usual names.

    Raises:
        DatasetError: The listing cannot be read, or has no column of paths.
        MissingExtraError: It is a Parquet file, and pyarrow is not installed.
    """
    for number, text, _, _ in read_rows(path, USUAL, labelled=False):
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
