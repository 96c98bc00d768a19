"""docs/zero_cost.md: its Python runs from top to bottom and prints what it says, and its jobs are valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from hubserve.benchmarks.zero_cost import SCORES
from hubserve.jobs import parse_mapping
from tests.jobs.definitions import SMALLEST
from tests.page_code import code_blocks, run_python

PATH = Path(__file__).parent.parent / "docs" / "zero_cost.md"
PAGE = PATH.read_text("utf-8")


@pytest.mark.slow
def test_its_python(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path))
    names = run_python(PAGE, "zero_cost_page", capsys, monkeypatch)
    assert set(names["scores"]) == {"naswot", "params"}
    assert names["refused"]
    assert all(" misses naswot >= " in reason for reason in names["refused"])
    assert names["space"].canonical(names["best"]) == names["best"]


def test_its_jobs():
    for block in code_blocks(PAGE, "yaml"):
        parse_mapping({**yaml.safe_load(SMALLEST), **yaml.safe_load(block)}, where="the page")


def test_it_names_every_score_and_its_links_exist():
    assert all(f"`{name}`" in PAGE for name in SCORES)
    for link in re.findall(r"\]\(([^)#:]+)[^)]*\)", PAGE):
        assert (PATH.parent / link).exists(), link
