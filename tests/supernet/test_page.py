"""docs/supernets.md: its Python runs from top to bottom and prints what it says, and the files that it names exist."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATH = ROOT / "docs" / "supernets.md"
PAGE = PATH.read_text("utf-8")


def test_its_python(capsys, monkeypatch):
    module = types.ModuleType("supernets_page")
    monkeypatch.setitem(sys.modules, "supernets_page", module)
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, vars(module))
        said = capsys.readouterr().out.splitlines()
        # Behind a print, or a line of its own after a loop.
        assert said == re.findall(r"(?:^print\(.*\)  |^)# (.*)$", block, re.MULTILINE)


def test_its_files_and_links():
    names = re.findall(r"`(?:hubserve/supernet/)?(\w+\.py)`", PAGE)
    assert len(names) > 8
    for name in names:
        assert (ROOT / "hubserve" / "supernet" / name).is_file(), name
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE):
        assert (PATH.parent / link).exists(), link
