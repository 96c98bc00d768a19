"""Reads labelled texts for an existing text classifier, whose classes `match_class_folders` finds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hubserve.data.labelled_texts import LabelledTexts
from hubserve.data.match_class_folders import match_class_folders
from hubserve.data.names import shown
from hubserve.data.own_texts import own_texts, usable_rows
from hubserve.errors import DatasetError


def labelled_texts(
    data: Path | str, labels: Sequence[str], trained: Mapping[str, Any] = MappingProxyType({}), *, by_order: bool = False
) -> LabelledTexts:
    """Returns labelled texts with the class index that the model has for each.

    If the data are divided into parts, only the texts of the test part are returned, or those of the validation part if there
    is no test part, or those of the training part if there is neither. Texts that are empty or too long are left out.

    Args:
        data: Folder with class folders of .txt files, or with train/, val/ and test/ that hold class folders; or a CSV, TSV or
            Parquet file with the columns text, label and, optionally, split. Classes of the model may be missing.
        labels: Labels of the model's classes, in the order of their indices.
        trained: "sha256" of the data that the model was trained on, and the "settings" with which they were read; empty if
            they are not known. If `data` are the same, only the texts are returned that tested the model.
        by_order: Whether the classes of the data, sorted by name, are those of the model in the order of their indices.

    Raises:
        DatasetError: The data cannot be read or have no usable text, or the classes do not match those of the model.
        MissingExtraError: A library of an optional extra is not installed.
    """
    if (drawn := _test_part(data, labels, trained)) is not None:
        return drawn
    rows, left_out, _ = usable_rows(Path(data))
    given = {row.part for row in rows}
    part = next((known for known in ("test", "val", "train") if known in given), None)
    rows = [row for row in rows if row.part == part]
    if not rows:
        raise DatasetError(f"{shown(data)} has no usable text: {len(left_out)} are left out")
    rule, classes = match_class_folders(sorted({row.label for row in rows}), labels, Path(data), by_order)
    return LabelledTexts(tuple((row.text, classes[row.label]) for row in rows), rule, tuple(left_out), part=part)


def _test_part(data: Path | str, labels: Sequence[str], trained: Mapping[str, Any]) -> LabelledTexts | None:
    """Returns the texts that tested the model; None if the data are not those that it was trained on, or had no test part."""
    if "sha256" not in trained:
        return None
    try:
        found = own_texts(Path(data), **trained.get("settings", {}))
    except (DatasetError, TypeError, ValueError):  # The data, or the settings, are of another kind.
        return None
    if found.sha256 != trained["sha256"] or found.labels != tuple(labels) or not len(found.test):
        return None
    items = zip(found.test.texts, found.test.targets.tolist(), strict=True)
    return LabelledTexts(tuple(items), "label", drawn=True, part="test")
