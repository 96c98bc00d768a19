"""Rows in each format have the same columns, and their paths are read back, whatever is in them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
from hypothesis import given, settings
from hypothesis import strategies as st

from hubserve.batch.answered import AnsweredImages
from hubserve.batch.line_file import LineFile
from hubserve.batch.parquet_file import ParquetFile
from hubserve.batch.rows import ImageRow, RowColumns, csv_lines, csv_names, json_lines, json_names
from hubserve.package.predictions import Prediction

TWO = (Prediction(label="a, b", index=1, probability=0.75), Prediction(label='"c"', index=0, probability=0.25))
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


def test_columns():
    assert RowColumns(2).names == ("path", "label", "probability", "index", "label_2", "probability_2", "index_2", "error")
    assert RowColumns(1, features=True).names == ("path", "label", "probability", "index", "features", "error")


def test_a_row_and_an_error_in_each_format(tmp_path):
    features = np.array([0.1, 1e-20], np.float32)
    rows = [ImageRow("x.jpg", TWO, features), ImageRow("y.jpg", error="no\nimage")]
    first, second = csv.DictReader(io.StringIO(csv_lines(rows, RowColumns(2), header=True).decode()))
    assert (first["label"], first["probability"], first["label_2"], first["error"]) == ("a, b", "0.75", '"c"', "")
    assert (second["path"], second["label"], second["error"]) == ("y.jpg", "", "no\nimage")
    lines = [json.loads(line) for line in json_lines(rows, RowColumns(2, features=True)).splitlines()]
    assert lines[1] == {"path": "y.jpg", "error": "no\nimage"}
    assert np.array(lines[0]["features"], np.float32).tobytes() == features.tobytes()
    file = ParquetFile(tmp_path / "o.parquet", RowColumns(2, features=True), 0, finished=False)
    file.append(rows)
    file.finish()
    table = pyarrow.parquet.read_table(tmp_path / "o.parquet").to_pylist()
    assert table[0] == {**lines[0], "features": features.tolist(), "error": None}
    assert (table[1]["error"], table[1]["features"], table[1]["label"]) == ("no\nimage", None, None)


@given(st.lists(NAMES))
@settings(max_examples=60)
def test_paths_are_read_back(names):
    rows = [ImageRow(name, TWO) for name in names]
    # As a file is read with newline="": line ends stay as they are.
    assert list(csv_names(io.StringIO(csv_lines(rows, RowColumns(2), header=True).decode(), newline=""))) == names
    assert list(json_names(io.StringIO(json_lines(rows, RowColumns(2)).decode(), newline=""))) == names


@given(st.lists(NAMES), st.lists(NAMES))
@settings(max_examples=60)
def test_an_image_is_taken_as_often_as_it_has_a_row(answered, others):
    taken = AnsweredImages(answered)
    assert len(taken) == len(answered)
    assert all(taken.take(name) for name in reversed(answered))
    assert not any(taken.take(name) for name in (*answered, *others))


def test_an_incomplete_line_is_cut_off(tmp_path: Path):
    path, columns = tmp_path / "o.csv", RowColumns(2)
    file = LineFile(path, columns, 0)
    file.append([ImageRow("a\n.jpg", TWO)])
    complete = path.read_bytes()
    path.write_bytes(complete + b'"b\n')
    again = LineFile(path, columns, file.position)
    assert list(again.names()) == ["a\n.jpg"]
    again.append([ImageRow("b", TWO)])
    assert path.read_bytes().startswith(complete)
    assert list(LineFile(path, columns, again.position).names()) == ["a\n.jpg", "b"]
