"""`own_texts`: makes a data set of the user's own texts: class folders of .txt files, or a listing with the texts in it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import validate_call

from hubserve.bounded_files import read_bounded
from hubserve.data.file_kind import TEXTS
from hubserve.data.folder_walk import LeftOut, left_out_text
from hubserve.data.image_check import Check
from hubserve.data.labelled_data import Share
from hubserve.data.layout import folder_layout
from hubserve.data.listing_rows import USUAL, Columns, is_listing
from hubserve.data.names import PARTS, Part, shown
from hubserve.data.scan_parts import Candidate, assign_parts
from hubserve.data.text_data import MostTokens, TextData, VocabularySize, text_data
from hubserve.data.text_rows import TextRow, text_rows
from hubserve.data.tokenizer_training import Kind
from hubserve.data.usable_classes import notes_on_case, refuse_unusable
from hubserve.errors import DatasetError
from hubserve.package.text_tokenizer import LONGEST_TEXT, text_fault

MOST_FILE_BYTES = 4 * LONGEST_TEXT
"""Largest file of a text, in bytes: a character has at most four in UTF-8."""


@validate_call
def own_texts(
    data: Path,
    *,
    vocabulary: VocabularySize = 8004,
    max_tokens: MostTokens = 128,
    kind: Kind = "words",
    seed: int = 0,
    val_share: Share = 0.1,
    text_column: str | None = None,
    label_column: str | None = None,
    part_column: str | None = None,
) -> TextData:
    """Makes a data set in three parts of the user's texts, and returns it.

    The parts are those of the folders train/, val/ and test/, or of the column of parts; those that are missing are drawn by
    the rules of `hubserve.data.scan.scan`. Equal texts, whatever their case and spaces, are in one part. Texts that are empty,
    too long or not valid Unicode are left out, and counted in `TextData.notes`.

    Args:
        data: Folder with class folders of .txt files, or with train/, val/ and test/ that hold class folders; or a CSV, TSV or
            Parquet file with the columns text, label and, optionally, split.
        vocabulary: Largest number of tokens in the vocabulary, which is that of the training texts.
        max_tokens: Largest number of tokens of a text, those at its start and end included; longer texts are cut.
        kind: "words", or "bpe" for parts of words.
        seed: Seed of the random draw that assigns texts to parts.
        val_share: Share of the training texts that becomes the validation part; above 0 and below 0.5.
        text_column: Column of a listing with the texts; None uses a usual name.
        label_column: Column with the classes; None uses a usual name.
        part_column: Column with the parts; None uses a usual name, if there is a column of that name.

    Raises:
        DatasetError: The data cannot be read or have none of the known layouts, a file is not UTF-8, or a class or part has no
            usable text.
        MissingExtraError: A library of an optional extra is not installed.
        ValueError: An argument has a value that is not allowed (pydantic's ValidationError).
    """
    columns = Columns(label=label_column, part=part_column, text=text_column)
    rows, left_out, notes = usable_rows(data, columns)
    classes = sorted({row.label for row in rows})
    checked = [
        (Candidate(data, row.file, classes.index(row.label), row.part), len(row.text), Check(_digest(row.text))) for row in rows
    ]
    assigned = assign_parts(checked, seed=seed, val_share=val_share, noun="text")
    left_out += assigned.left_out
    parts: dict[Part, list[tuple[str, int]]] = {part: [] for part in PARTS}
    for row, part in zip(rows, assigned.parts, strict=True):
        if part is not None:
            parts[part].append((row.text, classes.index(row.label)))
    counts = {part: _counts([label for _, label in items], len(classes)) for part, items in parts.items()}
    refuse_unusable(data, classes, counts, left_out, noun="text")
    notes += [*notes_on_case(classes), *assigned.notes]
    if left_out:
        notes.append(f"{len(left_out):,} texts are left out: {left_out_text(left_out)}")
    return text_data(
        data.name, parts, tuple(classes), vocabulary=vocabulary, max_tokens=max_tokens, kind=kind, notes=tuple(notes)
    )


def usable_rows(data: Path, columns: Columns = USUAL) -> tuple[list[TextRow], list[LeftOut], list[str]]:
    """Returns the texts that can be given to a tokenizer, what is left out with the reason, and messages.

    Args:
        data: Folder or listing, as for `own_texts`.
        columns: Names of the columns of a listing.

    Raises:
        DatasetError: The data cannot be read or have none of the known layouts, a file is not UTF-8, or `columns` has a name
            and `data` is a folder.
        MissingExtraError: The listing is a Parquet file, and pyarrow is not installed.
    """
    rows, left_out, notes = _rows(data, columns)
    checked = [(row, text_fault(row.text)) for row in rows]
    left_out += [LeftOut(shown(row.file), "unusable", f"it {fault}") for row, fault in checked if fault is not None]
    return [row for row, fault in checked if fault is None], left_out, notes


def _rows(data: Path, columns: Columns) -> tuple[list[TextRow], list[LeftOut], list[str]]:
    """Returns the texts of a folder or listing, the files that are left out, and messages. Raises as `usable_rows` does."""
    if is_listing(data) and not data.is_dir():
        return text_rows(data, columns), [], []
    if columns != USUAL:
        raise DatasetError(f"{shown(data)} is a folder, which has no columns; leave out text_column, label_column, part_column")
    layout = folder_layout(data, TEXTS)
    rows = [
        TextRow(path.relative_to(data).as_posix(), _read(path), label, part)
        for part, classes in layout.parts.items()
        for label, paths in classes.items()
        for path in paths
    ]
    return rows, list(layout.left_out), list(layout.notes)


def _read(path: Path) -> str:
    """Returns the text of a file. Raises DatasetError if it cannot be read, or is not UTF-8."""
    try:
        return read_bounded(path, MOST_FILE_BYTES).decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{shown(path)} is not UTF-8 ({error}); save it as UTF-8, or take it out of the data set") from error
    except OSError as error:
        raise DatasetError(f"{shown(path)} cannot be read: {error.strerror or error}; take it out of the data set") from error


def _digest(text: str) -> str:
    """Returns a hash of a text that is the same whatever its case and spaces."""
    return hashlib.sha256(" ".join(text.lower().split()).encode()).hexdigest()


def _counts(labels: Sequence[int], classes: int) -> list[int]:
    return [labels.count(label) for label in range(classes)]
