"""docs/sequences.md: its Python runs from top to bottom and prints what it says, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

from tests.page_code import run_python

PATH = Path(__file__).parent.parent / "docs" / "sequences.md"
PAGE = PATH.read_text("utf-8")


def test_its_python(capsys, monkeypatch):
    assert run_python(PAGE, "sequences_page", capsys, monkeypatch)["same"]


def test_its_links_exist():
    for link in re.findall(r"\]\(([^)#:]+)[^)]*\)", PAGE):
        assert (PATH.parent / link).exists(), link
