"""docs/supernets.md: its Python runs from top to bottom and prints what it says, and the files that it names exist."""

from __future__ import annotations

import re
from pathlib import Path

from tests.page_code import run_python

ROOT = Path(__file__).parents[2]
PATH = ROOT / "docs" / "supernets.md"
PAGE = PATH.read_text("utf-8")


def test_its_python(capsys, monkeypatch):
    # Behind a print, or a line of its own after a loop.
    run_python(PAGE, "supernets_page", capsys, monkeypatch, printed=r"(?:^print\(.*\)  |^)# (.*)$")


def test_its_files_and_links():
    names = re.findall(r"`(?:hubserve/supernet/)?(\w+\.py)`", PAGE)
    assert len(names) > 8
    for name in names:
        assert (ROOT / "hubserve" / "supernet" / name).is_file(), name
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE):
        assert (PATH.parent / link).exists(), link
