"""`hubserve spaces`."""

from __future__ import annotations

import pytest

from hubserve.hub import SPACES, get_space


def test_lists_every_space(hubserve):
    rows = hubserve("spaces", "--json").json()
    assert [row["name"] for row in rows] == list(SPACES)
    for row in rows:
        assert set(row) == {"name", "choices", "size", "exact_size", "input_size", "paper"}
        assert row["paper"].startswith("https://")
        assert float(row["size"]) == pytest.approx(row["exact_size"], rel=0.005)
    table = hubserve("spaces").fine()
    for row in rows:
        assert f"│ {row['name']} " in table
        assert row["size"] in table


def test_one_space(hubserve):
    page = hubserve("spaces", "NasBench201", "--json").json()
    space = get_space("NasBench201")
    assert page["exact_size"] == space.count() == 5**6
    assert [choice["label"] for choice in page["choices"]] == list(space.choices)
    for choice in page["choices"]:
        assert choice["candidates"] == list(space.choices[choice["label"]].candidates)
        assert choice["matters_if"] == ""
    assert page["summary"]
    assert page["models"] == []
    assert "num_labels = " in page["settings"]


def test_when_a_choice_matters(hubserve):
    conditions = {c["label"]: c["matters_if"] for c in hubserve("spaces", "ProxylessNAS", "--json").json()["choices"]}
    assert conditions["s2_i0"] == ""
    assert conditions["s2_i1"] == "s2_depth is 2 or 3 or 4"
    assert conditions["s2_i3"] == "s2_depth is 4"


def test_the_table_of_one_space_has_the_same(hubserve):
    said = hubserve("spaces", "ProxylessNAS").fine()
    page = hubserve("spaces", "ProxylessNAS", "--json").json()
    assert {"acenas-m1", "proxyless-gpu"} <= set(page["models"])
    assert "acenas-m1, acenas-m2" in said
    assert str(page["exact_size"]) in said
    for choice in page["choices"]:
        assert f"│ {choice['label']} " in said
        assert choice["matters_if"] in said


def test_no_such_space(hubserve):
    message = hubserve("spaces", "ProxylesNAS").refused("SpaceError")
    assert message.startswith("no model space is called 'ProxylesNAS'. Did you mean ProxylessNAS")
