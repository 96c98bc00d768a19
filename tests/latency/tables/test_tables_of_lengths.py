"""Lookup tables of spaces whose inputs are no images: at stated lengths, which are part of the table, its file and its use."""

from __future__ import annotations

import json
from dataclasses import fields
from random import Random

import pytest

from hubserve.errors import ProfileError
from hubserve.evaluator import Evaluator
from hubserve.experiment import Constraint, NasExperiment
from hubserve.hub import get_space
from hubserve.latency import MeasuredLatency, PredictedLatency
from hubserve.latency.lengths import measured_signature, space_lengths
from hubserve.latency.tables.build import BuildPlan, build_table, check_table, default_path
from hubserve.latency.tables.latency_table import LatencyTable
from hubserve.latency.tables.limit_check import feasibility
from hubserve.latency.tables.operation_onnx import time_operation
from hubserve.operations import Operation, arch_operations
from hubserve.strategy import Random as RandomStrategy
from tests.experiment.small import Small
from tests.hub.test_lightspeech import SMALL as SPEECH
from tests.hub.test_nasbert import SMALL as TEXT

SPACES = {"NASBERT": TEXT, "LightSpeech": SPEECH, "Tagger": get_space("tests.other_inputs:Tagger")}
LENGTHS = {
    "NASBERT": ({"length": 6}, {"length": 12}),
    "LightSpeech": ({"length": 5, "frames": 20}, {"length": 5, "frames": 40}),
    "Tagger": ({"length": 8}, {"length": 16}),
}
"""Short and long inputs of each space."""


class Widths(Evaluator):
    """A score that is known at once."""

    def evaluate(self, space, arch, trial):
        return {"default": float(arch["b1_hidden"])}


def cost(operation: Operation) -> float:
    return 0.01 + operation.elements / 1e5


def network_times(name, lengths):
    """A made-up latency of whole networks, which is additive in their operations."""
    space = SPACES[name]
    return lambda arch: (1.2 * sum(map(cost, arch_operations(space, arch, space.cost_inputs(lengths)))) + 0.5, 9)


FEW = BuildPlan(archs=12, fit_nets=4, check_nets=2)


def build(name, path, lengths, plan=FEW):
    space = SPACES[name]
    return build_table(
        space,
        settings(space),
        path,
        input_size=None,
        lengths=lengths,
        plan=plan,
        measure=lambda operation: [cost(operation)] * 8,
        measure_network=network_times(name, lengths),
    )


def settings(space):
    return {field.name: getattr(space, field.name) for field in fields(space)}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A table of each space for short inputs, and its file."""
    folder = tmp_path_factory.mktemp("tables")
    return {name: (build(name, folder / f"{name}.json", LENGTHS[name][0]), folder / f"{name}.json") for name in SPACES}


@pytest.mark.parametrize("name", SPACES)
class TestEverySpace:
    def test_costs_that_add_up_are_predicted(self, tables, name):
        space, (table, _) = SPACES[name], tables[name]
        error, pairs = check_table(table, space, nets=4, seed=9, measure_network=network_times(name, LENGTHS[name][0]))
        assert len(pairs) == 4
        assert error.worst_error < 0.1, "some operations are estimated from similar ones"

    def test_the_lengths_are_in_the_file(self, tables, name):
        table, path = tables[name]
        written = json.loads(path.read_text())
        assert (written["lengths"], written["input_size"]) == (LENGTHS[name][0], None)
        assert LatencyTable.load(path).model_dump_json() == table.model_dump_json()

    def test_longer_inputs_have_another_file_and_take_longer(self, tables, name, tmp_path, monkeypatch):
        monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path))
        space, (short, long) = SPACES[name], LENGTHS[name]
        paths = {default_path(space, {}, input_size=None, lengths=lengths) for lengths in (short, long)}
        assert len(paths) == 2
        assert all(path.name.endswith("-1t.json") and "length" in path.name for path in paths)
        (path,) = paths - {default_path(space, {}, input_size=None, lengths=short)}
        table = build(name, path, long, plan=BuildPlan(archs=3, fit_nets=0, check_nets=0))
        arch = space.random(Random(4))
        assert table.predict(space, arch) > sum(map(cost, arch_operations(space, arch, space.cost_inputs(short))))

    def test_another_length_is_not_gone_on_with(self, tables, name):
        _, path = tables[name]
        with pytest.raises(ProfileError, match=r"is a table for lengths = {.*}, and {.*} was asked for"):
            build(name, path, LENGTHS[name][1])

    def test_a_limit_that_no_network_meets(self, tables, name):
        assert feasibility(tables[name][0], SPACES[name], max_ms=0.01, archs=10).verdict == "no"

    def test_every_kind_of_operation_has_its_onnx(self, name):
        space = SPACES[name]
        kinds = {}
        for seed in range(4):
            operations = arch_operations(space, space.random(Random(seed)), space.cost_inputs(LENGTHS[name][0], batch=2))
            kinds |= {operation.kind: operation for operation in operations}
        for operation in kinds.values():
            times = time_operation(operation, threads=1, calls=5)
            assert len(times) == 5
            assert all(ms >= 0 for ms in times)


class TestLengths:
    def test_those_that_are_missing_are_the_usual_ones(self):
        assert space_lengths(TEXT, {"length": 3}) == {"length": 3}
        assert space_lengths(SPEECH, {"length": 40}) == {"length": 40, "frames": 600}
        assert space_lengths(SPACES["Tagger"]) == {"length": 48}, "without usual ones, the largest that exports are tried with"
        assert space_lengths(TEXT) == {"length": 12}, "its networks take no more than 12 tokens"
        assert space_lengths(get_space("NasBench201")) == {}

    @pytest.mark.parametrize(
        ("space", "given", "message"),
        [
            (TEXT, {"length": 13}, r"length length=13: NASBERT has the axes length \(1 to 12\)"),
            (TEXT, {"frames": 5}, r"length frames=5: NASBERT has the axes length \(1 to 12\)"),
            (SPEECH, {"frames": 0}, r"LightSpeech has the axes length \(1 to any\), frames \(1 to any\)"),
            (get_space("NasBench201"), {"length": 8}, "NasBench201 has the axes none"),
        ],
    )
    def test_others_are_refused(self, space, given, message):
        with pytest.raises(ProfileError, match=message):
            space_lengths(space, given)

    def test_images_have_no_lengths(self):
        assert measured_signature(get_space("NasBench201")) is None
        with pytest.raises(ProfileError, match="give input_size"):
            MeasuredLatency().measure(Small(), Small().random(Random(0)))


def test_rows_of_a_table_of_words_are_read_not_the_whole_table():
    """An embedding copies the rows of its tokens; what is measured does not grow with the number of words."""
    large = get_space("NASBERT", {**settings(TEXT), "vocab_size": 50_000})
    arch = TEXT.random(Random(0))
    few, many = ([o.key for o in arch_operations(space, arch, space.cost_inputs({"length": 6}))] for space in (TEXT, large))
    assert few == many


def test_a_search_under_a_limit_by_a_table(tables, tmp_path):
    """Archs above the limit are not evaluated, by predictions that are those of the table."""
    table, _ = tables["NASBERT"]
    rng = Random(0)
    times = sorted(table.predict(TEXT, TEXT.random(rng)) for _ in range(10))
    limit = (times[4] + times[5]) / 2
    experiment = NasExperiment(
        TEXT,
        Widths(),
        RandomStrategy(seed=1),
        max_trials=6,
        constraints=[Constraint("latency_ms", "<=", limit)],
        measures={"latency_ms": PredictedLatency(table)},
        folder=tmp_path,
    )
    experiment.run()
    assert {record.state for record in experiment.trials} == {"complete", "infeasible"}
    for record in experiment.trials:
        assert record.scores["latency_ms"] == pytest.approx(table.predict(TEXT, record.arch))
        assert (record.state == "complete") == (record.scores["latency_ms"] <= limit)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["NASBERT", pytest.param("LightSpeech", marks=pytest.mark.long)])
def test_a_small_table_for_real(name, tmp_path):
    """Operations by ONNX Runtime's profiler, networks by export: the lengths are those that the networks are called with."""
    space, (short, long) = SPACES[name], LENGTHS[name]
    plan = BuildPlan(archs=4, fit_nets=1, check_nets=1, calls=5, net_seconds=0.1)
    table = build_table(space, settings(space), tmp_path / "t.json", input_size=None, lengths=short, plan=plan)
    assert [net.role for net in table.networks].count("fit") == 1
    assert all(net.ms > 0 and net.n >= 10 for net in table.networks)
    arch = table.networks[0].arch
    assert table.predict(space, arch) > 0
    longer = {axis: 20 * length if axis == "frames" else length for axis, length in long.items()}
    kept = tmp_path / "kept"
    times = [
        MeasuredLatency(seconds=0.2, lengths=lengths).measure_in_turns(space, {"onnx": arch}, kept=kept)["onnx"].min_ms
        for lengths in (short, longer)
    ]
    assert len(list(kept.iterdir())) == 1, "one file takes all lengths"
    assert times[1] > times[0]
