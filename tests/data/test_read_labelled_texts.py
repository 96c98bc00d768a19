"""Labelled texts for a model that exists: its classes, the part that tests it, and what is left out."""

from __future__ import annotations

import pytest

from hubserve.data.labelled_texts import beginning
from hubserve.data.own_texts import own_texts
from hubserve.data.read_labelled_texts import labelled_texts
from hubserve.errors import DatasetError
from tests.data.test_own_texts import ROWS, folder, listing

LABELS = ("bad", "good")


def test_a_folder_of_classes(tmp_path):
    found = labelled_texts(folder(tmp_path / "films", ROWS[:6]), LABELS)
    assert (found.rule, found.part, found.drawn, found.kind) == ("label", None, False, "texts")
    assert sorted(found.items) == sorted((text, LABELS.index(label)) for text, label in ROWS[:6])


def test_a_listing_and_classes_by_number(tmp_path):
    rows = [(text, str(LABELS.index(label))) for text, label in ROWS[:6]]
    found = labelled_texts(listing(tmp_path / "films.csv", rows), LABELS)
    assert found.rule == "number"
    assert list(found.items) == [(text, int(label)) for text, label in rows]


def test_of_parts_the_test_part(tmp_path):
    for part, rows in (("train", ROWS[:8]), ("test", ROWS[8:12])):
        folder(tmp_path / "films", rows, part)
    found = labelled_texts(tmp_path / "films", LABELS)
    assert (found.part, len(found.items)) == ("test", 4)
    assert {text for text, _ in found.items} == {text for text, _ in ROWS[8:12]}


def test_empty_texts_are_left_out(tmp_path):
    found = labelled_texts(listing(tmp_path / "films.csv", [*ROWS[:3], ("  ", "good")]), LABELS)
    assert len(found.items) == 3
    assert [entry.detail for entry in found.left_out] == ["it is empty"]
    with pytest.raises(DatasetError, match="has no usable text: 1 are left out"):
        labelled_texts(listing(tmp_path / "none.csv", [("  ", "good")]), LABELS)


def test_other_classes(tmp_path):
    with pytest.raises(DatasetError, match="'good' is neither a WordNet id nor one of the model's 2 labels"):
        labelled_texts(listing(tmp_path / "films.csv", ROWS[:3]), ("fine", "bad"))
    found = labelled_texts(listing(tmp_path / "films.csv", ROWS[:3]), ("A", "B"), by_order=True)
    assert found.rule == "order"


def test_of_the_data_of_the_training_those_that_tested_it(tmp_path):
    path = listing(tmp_path / "films.csv")
    data = own_texts(path, seed=3, val_share=0.2)
    trained = {"sha256": data.sha256, "settings": {"seed": 3, "val_share": 0.2}}
    found = labelled_texts(path, LABELS, trained)
    assert (found.drawn, found.part) == (True, "test")
    assert [text for text, _ in found.items] == list(data.test.texts)
    assert [label for _, label in found.items] == data.test.targets.tolist()
    listing(path, ROWS[:-1])
    changed = labelled_texts(path, LABELS, trained)
    assert (changed.drawn, len(changed.items)) == (False, len(ROWS) - 1)


@pytest.mark.parametrize("settings", [{}, {"seed": 4}, {"size": 32}, {"val_share": 2.0}])
def test_settings_that_give_other_parts(tmp_path, settings):
    path = listing(tmp_path / "films.csv")
    trained = {"sha256": own_texts(path, seed=3).sha256, "settings": settings}
    assert not labelled_texts(path, LABELS, trained).drawn


def test_long_texts_are_named_by_their_beginning():
    assert beginning("a" * 80) == "a" * 80
    assert beginning("a" * 81) == "a" * 79 + "…"
