"""Sizes and names of the code: modules stay small, and no class name is used for two different things."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "hubserve"
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 330
TWICE = {"DARTS", "ENAS"}
"""Names of NNI that mean both a model space and a strategy."""


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_are_small(path):
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= MOST_LINES, f"{path} has {lines} lines; at most {MOST_LINES}: part it by subject"


def test_each_class_name_means_one_thing():
    places = defaultdict(list)
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(PACKAGE)))
    twice = {name: found for name, found in places.items() if len(found) > 1 and name not in TWICE}
    assert not twice, f"class names that are used twice: {twice}"
