"""The README's Python runs, and says what it says."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import torch

README = (Path(__file__).parent.parent / "README.md").read_text()


def block_with(text: str) -> str:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    return next(block for block in blocks if text in block)


def test_a_space_of_ones_own(capsys, monkeypatch):
    module = types.ModuleType("readme")
    monkeypatch.setitem(sys.modules, "readme", module)
    names = vars(module)
    exec(block_with("class Small"), names)
    said = re.search(r"print\(space.count\(\)\) +# (\d+)", README)
    assert said is not None
    assert capsys.readouterr().out.strip() == said[1]
    assert names["model"](torch.zeros(2, 3, 8, 8)).shape == (2, 10)
