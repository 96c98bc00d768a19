"""docs/from-nni.md: its code runs from top to bottom and prints what it says, and each of its lines leads to some."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.page_code import run_python

PATH = Path(__file__).parent.parent / "docs" / "from-nni.md"
PAGE = PATH.read_text()
SECTIONS = dict(re.findall(r"^## ([^\n]*)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
NAMES = (
    "Numerical", "tuples or dicts", "2 or 4", 'reduction="none"', "arguments of an evaluator", "policy_fn",
    "metric_for_invalid", '"replay"', "RandomOneShot", "more epochs", "`AutoformerSpace`", "load_pretrained_supernet",
    "run_or_resume",
)  # fmt: skip
"""What was asked for by those who come from NNI."""


def test_its_python(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path))
    run_python(PAGE, "from_nni_page", capsys, monkeypatch)


@pytest.mark.parametrize("name", NAMES)
def test_each_line_of_the_table_leads_to_code(name):
    (line,) = [line for line in PAGE.splitlines() if line.startswith("| ") and name in line.split("|")[1]] or [""]
    (link,) = re.findall(r"\(#(.*?)\)", line)
    titles = {title.lower().replace(" ", "-"): text for title, text in SECTIONS.items()}
    assert "```python" in titles[link]
