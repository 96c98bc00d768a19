"""docs/text.md: its Python prints what it says, its links lead somewhere, and its data entries are read."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from hubserve.jobs.definition import DataEntry
from tests.page_code import code_blocks, run_python

PATH = Path(__file__).parent.parent / "docs" / "text.md"
PAGE = PATH.read_text("utf-8")


def test_its_python(capsys, monkeypatch):
    assert run_python(PAGE, "text_page", capsys, monkeypatch)["tokenizer"].size > 4


def test_its_links_exist():
    for link in re.findall(r"\]\(([^)#:]+)[^)]*\)", PAGE):
        assert (PATH.parent / link).exists(), link


def test_its_data_entries():
    found = [DataEntry.model_validate(yaml.safe_load(block)["data"]) for block in code_blocks(PAGE, "yaml")]
    assert [entry.name for entry in found] == ["text-folder", "text-listing"]
