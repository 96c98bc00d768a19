"""Jobs on texts whose latency is measured, or predicted by a table, at a stated length."""

from __future__ import annotations

import json
from random import Random

import pytest

from hubserve import jobs
from hubserve.errors import JobError
from hubserve.latency import MeasuredLatency
from hubserve.latency.lengths import space_lengths
from hubserve.latency.tables.build import BuildPlan, build_table
from hubserve.pipeline.resolve import resolve_job
from tests.sentences import place_sentences

SPACE = {"embedding_size": 16, "hidden_sizes": [16], "head_dim": 8, "num_blocks": 1, "layers_per_block": 2}


def resolved(folder, **latency):
    definition = {
        "name": "films",
        "space": {"name": "NASBERT", "settings": SPACE},
        "data": {"name": "movie-sentences", "settings": {"vocabulary": 60, "max_tokens": 8}},
        "strategy": {"name": "Random"},
        "recipe": {"epochs": 1},
        "objectives": ["val_acc"],
        "constraints": {"latency_ms": 1000},
        "budget": {"trials": 2},
        "latency": latency,
    }
    return resolve_job(jobs.parse_job(json.dumps(definition), where="it"), where=folder)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A folder with a table for 6 tokens, and the table."""
    folder = tmp_path_factory.mktemp("films")
    with pytest.MonkeyPatch.context() as patch:
        place_sentences(patch, folder / "home")
        found = resolved(folder)
    made = build_table(
        found.space,
        dict(found.settings),
        folder / "table.json",
        input_size=None,
        lengths={"length": 6},
        plan=BuildPlan(archs=12, fit_nets=0, check_nets=0),
        measure=lambda operation: [0.01] * 8,
    )
    return folder, made


@pytest.fixture(autouse=True)
def sentences(table, monkeypatch):
    place_sentences(monkeypatch, table[0] / "home")


def test_archs_are_predicted_and_the_winner_is_measured_at_this_length(table):
    folder, made = table
    found = resolved(folder, table="table.json", lengths={"length": 6})
    arch = found.space.random(Random(0))
    assert found.search_latency(found.space, arch) == {"latency_ms": made.predict(found.space, arch)}
    assert found.latency().lengths == {"length": 6}
    assert "predicted by table.json" in found.facts()["latency"]


def test_without_lengths_they_are_the_longest_texts(table):
    """The usual length of NASBERT, 128, is more than these networks take."""
    found = resolved(table[0])
    assert isinstance(found.search_latency, MeasuredLatency)
    assert space_lengths(found.space, found.latency().lengths) == {"length": 8}


@pytest.mark.parametrize(
    ("latency", "message"),
    [
        ({"table": "table.json"}, r"^latency.table: .* lengths = {'length': 6}, and {'length': 8} was asked for"),
        ({"lengths": {"length": 9}}, r"^latency.lengths: length length=9: NASBERT has the axes length \(1 to 8\)"),
    ],
)
def test_other_lengths_are_refused(table, latency, message):
    with pytest.raises(JobError, match=message):
        resolved(table[0], **latency)
