"""`hubserve latency-table`: from measuring a machine to the answer whether a limit can be met."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hubserve.latency.tables.latency_table import LatencyTable
from tests.export.nets import ARCH, SETTINGS


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "hubserve"))
    (tmp_path / "settings.json").write_text(json.dumps(SETTINGS))
    (tmp_path / "arch.json").write_text(json.dumps(ARCH))
    return "--space", "ProxylessNAS", "--settings", str(tmp_path / "settings.json"), "--input-size", "32"


@pytest.mark.long
def test_the_whole_way(hubserve, options, tmp_path):
    assert "latency-table build" in hubserve("latency-table", "show", *options).refused("ProfileError")
    few = ("--archs", "3", "--fit-nets", "0", "--check-nets", "0")
    built = hubserve("latency-table", "build", *options, *few, "--json").json()
    assert built["file"].startswith(str(tmp_path / "hubserve" / "latency" / "ProxylessNAS-"))
    assert built["operations"] > 10
    shown = hubserve("latency-table", "show", *options).fine()
    assert "Slowest operations" in shown
    assert "conv 1x" in shown
    predicted = hubserve("latency-table", "predict", *options, "--arch", tmp_path / "arch.json", "--json").json()
    assert predicted["latency_ms"] > 0
    assert 0 < predicted["measured"] <= 1
    assert " ms" in hubserve("latency-table", "predict", *options, "--arch", tmp_path / "arch.json").fine()
    other = ("--table", built["file"], "--threads", "2")
    for subcommand in (("show",), ("predict", "--arch", tmp_path / "arch.json"), ("feasible", "--max-ms", "9"), ("check",)):
        message = hubserve("latency-table", *subcommand, *options, *other).refused("ProfileError")
        assert "is a table for threads = 1, and 2 was asked for" in message
    table = LatencyTable.load(Path(built["file"]))
    brought = table.model_copy(update={"host": table.host.model_copy(update={"cpu": "Abacus"})})
    brought.save(tmp_path / "brought.json")
    arguments = ("predict", *options, "--arch", tmp_path / "arch.json", "--table", tmp_path / "brought.json")
    said = hubserve("latency-table", *arguments)
    assert (said.code, said.fault) == (0, "")
    assert "was measured on Abacus" in said.err
    draws = ("--archs", "5")
    found = hubserve("latency-table", "feasible", *options, *draws, "--max-ms", "1000", "--json").json()
    assert (found["verdict"], found["share"]) == ("yes", 1)
    said = hubserve("latency-table", "feasible", *options, *draws, "--max-ms", "0.000001")
    assert (said.code, said.fault) == (1, "")
    assert "no" in said.out


def test_no_such_space(hubserve):
    assert "Did you mean ENAS" in hubserve("latency-table", "build", "--space", "ENASS").refused("SpaceError")


def test_a_space_of_other_inputs(hubserve, tmp_path, monkeypatch):
    """A table at stated lengths, without whole networks; what is about images is refused."""
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "hubserve"))
    space = ("--space", "tests.other_inputs:Tagger", "--length", "length=8")
    few = ("--archs", "4", "--fit-nets", "0", "--check-nets", "0")
    built = hubserve("latency-table", "build", *space, *few, "--json").json()
    assert built["file"].endswith("-Tagger-length8-1t.json")
    assert built["input"] == "1, length 8"
    (tmp_path / "arch.json").write_text(json.dumps({"layer0": "attention", "layer1": "mixing"}))
    arch = ("--arch", tmp_path / "arch.json", "--json")
    assert hubserve("latency-table", "predict", *space, *arch).json()["latency_ms"] > 0
    assert hubserve("latency-table", "feasible", *space, "--max-ms", "1000", "--archs", "4", "--json").json()["share"] == 1
    longer = (*space[:2], "--length", "length=16", "--table", built["file"])
    message = hubserve("latency-table", "predict", *longer, *arch).refused("ProfileError")
    assert "is a table for lengths = {'length': 8}, and {'length': 16} was asked for" in message
    message = hubserve("latency-table", "show", *space[:2], "--input-size", "32").refused("ProfileError")
    assert "--input-size is the size of images" in message
    assert "take ids (int64: batch x length), mask (int64: batch x length): give --length AXIS=NUMBER" in message
    message = hubserve("latency-table", "show", *space[:2], "--length", "length=65").refused("ProfileError")
    assert "Tagger has the axes length (1 to 64)" in message
    message = hubserve("latency-table", "show", "--space", "NasBench201", "--length", "length=8").refused("ProfileError")
    assert "NasBench201 has the axes none" in message
