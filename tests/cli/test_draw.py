"""`hubserve draw`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hubserve.hub import get_space, load_card
from hubserve.workers import describe_package


def test_a_card(hubserve):
    assert hubserve("draw", "darts-v2").fine() == "darts-v2.svg\n"
    assert "darts-v2" in Path("darts-v2.svg").read_text()


def test_an_arch_of_ones_own(hubserve, own_arch):
    document = hubserve("draw", *own_arch, "--out", "mine.png", "--json").json()
    assert document == {"path": "mine.png", "arch": json.loads(Path(own_arch[3]).read_text())}
    assert Path("mine.png").read_bytes().startswith(b"\x89PNG")


def test_a_random_arch_is_told(hubserve):
    document = hubserve("draw", "--space", "NasBench201", "--json").json()
    get_space("NasBench201").validate(document["arch"])
    assert document["path"] == "NasBench201.svg"


def test_as_the_card_has_it(hubserve):
    assert hubserve("draw", "darts-v2", "--json").json()["arch"] == load_card("darts-v2").arch


@pytest.mark.parametrize("arguments", [[], ["spos", "--space", "ENAS"], ["spos", "--arch", "x.json"]])
def test_options_that_do_not_go_together(hubserve, arguments):
    assert hubserve("draw", *arguments).refused("ExportError").startswith("name a pre-searched model, or give --space")


def test_an_ending_that_is_no_picture_s(hubserve):
    message = hubserve("draw", "darts-v2", "--out", "x.docx").refused("OutputError")
    assert message == "cannot draw into x.docx: its name must end in one of .svg, .png, .pdf"


def test_a_file_that_cannot_be_written(hubserve):
    assert hubserve("draw", "darts-v2", "--out", "no/folder/x.svg").code == 2


def test_without_the_extra(hubserve, without_plots):
    said = hubserve("draw", "darts-v2").refused("MissingExtraError")
    assert said == "drawing needs matplotlib: pip install 'hubserve[plots]'"
    assert not Path("darts-v2.svg").exists()


def test_a_service_has_its_figures_without_the_extra(small, tmp_path, without_plots, monkeypatch):
    monkeypatch.setattr(os, "nice", lambda increment: 0)  # For ever, in the process of the tests.
    describe_package.main(tmp_path, [small])
    (found,) = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert found["params"] > 0
    assert "pip install 'hubserve[plots]'" in found["problem"]
