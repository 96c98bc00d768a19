"""The code of a page of the documentation: its blocks, and a run of its Python that compares what it prints."""

from __future__ import annotations

import re
import sys
import types
from typing import Any

BEHIND_PRINT = r"^print\(.*\)  # (.*)$"
"""What a print prints stands behind it, as a comment."""


def code_blocks(page: str, language: str) -> list[str]:
    """Returns the blocks of code of one language."""
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def run_python(page: str, name: str, capsys, monkeypatch, *, printed: str = BEHIND_PRINT) -> dict[str, Any]:
    """Runs the Python blocks from top to bottom in a module called `name`, and returns its variables.

    Each block must print the lines that the pattern `printed` finds in it.
    """
    module = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    for block in code_blocks(page, "python"):
        exec(block, vars(module))
        assert capsys.readouterr().out.splitlines() == re.findall(printed, block, re.MULTILINE)
    return vars(module)
