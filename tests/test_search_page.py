"""docs/search.md: its Python runs from top to bottom and prints what it says, and what it names exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hubserve.cli import app
from hubserve.strategy import __all__ as strategies
from tests.page_code import code_blocks, run_python

PATH = Path(__file__).parent.parent / "docs" / "search.md"
PAGE = PATH.read_text()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_its_python(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path))
    names = run_python(PAGE, "search_page", capsys, monkeypatch)
    space, found = names["space"], names["darts"].trials
    assert all(space.canonical(arch) == arch for arch in (names["best"], names["arch"]))
    assert (tmp_path / "experiments" / "my-search" / "study.journal").is_file()
    assert len(found) == 1
    assert "probabilities" in names["rows"][0]
    assert len(names["single_path"].export_data()) == 3


@pytest.mark.parametrize(
    "line", [line for block in code_blocks(PAGE, "bash") for line in block.splitlines() if line.startswith("hubserve ")]
)
def test_its_commands_have_these_options(line):
    command, *rest = shlex.split(line, comments=True)[1:]
    helped = CliRunner(env={"COLUMNS": "300"}).invoke(app, [command, "--help"]).stdout
    assert all(option in helped for option in rest if option.startswith("--"))


def test_its_names_and_links():
    for name in ("Random", "GridSearch", "RegularizedEvolution", "TPE", "PolicyBasedRL", "NSGA2", "Chain", "DARTS"):
        assert f"`{name}`" in PAGE
        assert name in strategies
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE):
        assert (PATH.parent / link).exists(), link
