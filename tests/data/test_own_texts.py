"""Texts of one's own: class folders of .txt files, or a listing; what cannot be used is named and counted."""

from __future__ import annotations

import csv

import pytest

from hubserve.data.named_datasets import load_search_data
from hubserve.data.own_texts import own_texts
from hubserve.errors import DatasetError
from hubserve.jobs.definition import DataEntry
from tests.sentences import rated

ROWS = [(text, "good" if rating > 0 else "bad") for rating, text in rated(60) if rating]


def folder(root, rows=ROWS, part=""):
    for number, (text, label) in enumerate(rows):
        place = root / part / label
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:03}.txt").write_text(text, "utf-8")
    return root


def listing(path, rows=ROWS, header=("text", "label")):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def sizes(data) -> list[int]:
    return [len(part) for part in (data.train, data.val, data.test)]


def test_class_folders_and_a_listing_give_the_same_classes_and_sizes(tmp_path):
    one = load_search_data("text-folder", folder(tmp_path / "films"), val_share=0.2)
    other = load_search_data("text-listing", listing(tmp_path / "films.csv"), val_share=0.2)
    assert one.labels == other.labels == ("bad", "good")
    assert sizes(one) == sizes(other) == [36, 12, 12]
    assert {*one.train.texts, *one.val.texts, *one.test.texts} == {text for text, _ in ROWS}
    assert all((label == 1) == ((text, "good") in ROWS) for text, label in zip(one.val.texts, one.val.targets, strict=True))


def test_a_parquet_listing(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    texts, labels = zip(*ROWS, strict=True)
    parquet.write_table(pyarrow.table({"review": texts, "class": labels}), tmp_path / "films.parquet")
    assert sum(sizes(own_texts(tmp_path / "films.parquet"))) == 60
    parquet.write_table(pyarrow.table({"text": [1, 2], "label": ["a", "b"]}), tmp_path / "films.parquet")
    with pytest.raises(DatasetError, match="the column text holds a int, and no text"):
        own_texts(tmp_path / "films.parquet")


def test_parts_that_are_given_are_kept(tmp_path):
    folder(tmp_path / "films", ROWS[:40], "train")
    folder(tmp_path / "films", ROWS[40:50], "val")
    folder(tmp_path / "films", ROWS[50:], "test")
    assert sizes(own_texts(tmp_path / "films")) == [40, 10, 10]
    parts = ["train"] * 40 + ["val"] * 10 + ["test"] * 10
    rows = [(*row, part) for row, part in zip(ROWS, parts, strict=True)]
    assert sizes(own_texts(listing(tmp_path / "films.csv", rows, ("text", "label", "split")))) == [40, 10, 10]


def test_equal_texts_are_not_in_two_parts(tmp_path):
    folder(tmp_path / "films", ROWS[:40], "train")
    folder(tmp_path / "films", [(f" {ROWS[0][0].upper()}", ROWS[0][1]), *ROWS[40:]], "test")
    data = own_texts(tmp_path / "films")
    assert ROWS[0][0] not in {*data.train.texts, *data.val.texts}
    assert any("1 texts were in two parts and are left out of the earlier one" in note for note in data.notes)
    assert any("equal to a text of the test part" in note for note in data.notes)


def test_what_cannot_be_used_is_counted(tmp_path):
    root = folder(tmp_path / "films")
    (root / "good" / "empty.txt").write_text(" \n")
    (root / "good" / "long.txt").write_text("a " * 15_000)
    (root / "good" / "notes.md").write_text("no text of the data set")
    data = own_texts(root)
    (note,) = data.notes
    assert "3 texts are left out: 1 ending .md (good/notes.md); 2 unusable" in note
    assert "good/empty.txt: it is empty" in note
    assert "good/long.txt: it has 29,999 characters, and at most 20,000 are allowed" in note


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda root: (root / "good" / "latin.txt").write_bytes(b"caf\xe9"), r"latin\.txt is not UTF-8 .* save it as UTF-8"),
        (lambda root: (root / "good" / "huge.txt").write_bytes(b"a" * 80_001), r"huge\.txt cannot be read: it is longer than"),
        (lambda root: [path.unlink() for path in (root / "bad").iterdir()], "there is no text in the class folders bad/"),
        (lambda root: [path.write_text(path.parent.name) for path in root.glob("*/*")], "fewer than 5 different texts"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(change, says, tmp_path):
    root = folder(tmp_path / "films", ROWS[:20])
    change(root)
    with pytest.raises(DatasetError, match=says):
        own_texts(root)


def test_one_class_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="has the one class 'good', and a classifier needs at least two"):
        own_texts(listing(tmp_path / "films.csv", [row for row in ROWS if row[1] == "good"]))


@pytest.mark.parametrize(
    ("rows", "header", "says"),
    [
        ([], ("text", "label"), "has no text: it has no rows"),
        (ROWS, ("words", "label"), "and none for the texts; its first line must name one text or sentence"),
        (ROWS, ("text", "kind"), "and none for the labels"),
        ([("good", "")], ("text", "label"), "row 2 has no label"),
        ([("good", "a", "later")], ("text", "label", "split"), "the part 'later' is none of train, val and test"),
    ],
)
def test_a_listing_that_cannot_be_used_is_refused(rows, header, says, tmp_path):
    with pytest.raises(DatasetError, match=says):
        own_texts(listing(tmp_path / "films.csv", rows, header))


def test_columns_by_their_names(tmp_path):
    path = listing(tmp_path / "films.csv", header=("words", "kind"))
    assert sum(sizes(own_texts(path, text_column="words", label_column="kind"))) == 60
    with pytest.raises(DatasetError, match="is a folder, which has no columns"):
        own_texts(folder(tmp_path / "films"), text_column="words")


def test_a_job_names_a_listing_as_its_file():
    assert str(DataEntry(name="text-listing", file="films.csv").place) == "films.csv"
    with pytest.raises(ValueError, match="the data set 'text-listing' needs file"):
        DataEntry(name="text-listing")
