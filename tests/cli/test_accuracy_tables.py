"""The tables of an accuracy report name what was classified: images, or texts."""

from __future__ import annotations

import numpy as np
import pytest

from hubserve.accuracy_from_logits import accuracy_report
from hubserve.cli.accuracy_tables import accuracy_text, print_accuracy


@pytest.mark.parametrize(("items", "name", "other"), [("images", "file", "text"), ("texts", "text", "image")])
def test_what_was_classified_is_named(capsys, items, name, other):
    logits, true = np.eye(2)[[0, 1, 1, 0]], np.array([0, 1, 1, 1])
    report = accuracy_report(logits, true, ("no", "yes"), list("abcd"), dataset="x", items=items)
    assert f"75.00% of 4 {items} (95 %" in accuracy_text(report)
    print_accuracy(report)
    said = capsys.readouterr().out
    assert [line.split("┃")[2].strip() for line in said.splitlines() if line.startswith("┃ class")] == [items, "given"]
    assert f"fewer than 20 test {items} of no, yes" in said
    assert any(line.startswith(f"┃ {name} ") for line in said.splitlines())
    assert other not in said
