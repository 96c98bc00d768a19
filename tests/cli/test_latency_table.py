"""`hubserve latency-table`: from measuring a machine to the answer whether a limit can be met."""

from __future__ import annotations

import json

import pytest

from tests.export.nets import ARCH, SETTINGS


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "hubserve"))
    (tmp_path / "settings.json").write_text(json.dumps(SETTINGS))
    (tmp_path / "arch.json").write_text(json.dumps(ARCH))
    return "--space", "ProxylessNAS", "--settings", str(tmp_path / "settings.json"), "--input-size", "32"


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
    draws = ("--archs", "5")
    found = hubserve("latency-table", "feasible", *options, *draws, "--max-ms", "1000", "--json").json()
    assert (found["verdict"], found["share"]) == ("yes", 1)
    said = hubserve("latency-table", "feasible", *options, *draws, "--max-ms", "0.000001")
    assert (said.code, said.fault) == (1, "")
    assert "no" in said.out


def test_no_such_space(hubserve):
    assert "Did you mean ENAS" in hubserve("latency-table", "build", "--space", "ENASS").refused("SpaceError")
