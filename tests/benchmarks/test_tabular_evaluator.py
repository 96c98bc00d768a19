"""Scores by table: which arch is which row, which column is which score, and the public tables."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from random import Random

import pytest
from torch import nn

from hubserve.benchmarks.arch_keys import arch_from_digits, arch_from_matrix, digits_key, nasbench101_key, nasbench201_key
from hubserve.errors import ArchError, EvaluatorError
from hubserve.evaluator import Objective, Table, TabularEvaluator, Trial, read_csv, read_json
from hubserve.hub import MobileNetV3Space, NasBench101, NasBench201
from hubserve.hub.nasbench201 import from_arch_string
from hubserve.space import ModelSpace

CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|"


@dataclass(frozen=True)
class Macro(ModelSpace):
    """Eight layers of three kinds, as in NAS-Bench-Macro."""

    def build(self, pick):
        kinds = {"identity": nn.Identity, "mb3_k3": nn.ReLU, "mb6_k5": nn.ReLU6}
        return nn.Sequential(*(pick.layer(f"layer{i}", kinds) for i in range(8)))


def small_table(**columns):
    return Table("small.csv", {CELL: {"val": 90.0, "test": 80.0, "ms": 5.0, **columns}})


class TestScores:
    def test_objectives_drive_and_reports_are_reported(self):
        evaluator = TabularEvaluator(small_table(), {"val": "maximize", "ms": "minimize"}, report=["test", "val"])
        assert evaluator.objectives == (Objective("val"), Objective("ms", "minimize"))
        scores = evaluator.evaluate(NasBench201(), from_arch_string(CELL), Trial())
        assert scores == {"val": 90.0, "ms": 5.0, "test": 80.0}

    def test_several_runs(self):
        table, arch = small_table(val=(1.0, 2.0, 6.0)), from_arch_string(CELL)
        assert TabularEvaluator(table, "val").evaluate(NasBench201(), arch, Trial()) == {"val": 3.0}
        one = TabularEvaluator(table, "val", runs="one")
        seen = {one.evaluate(NasBench201(), arch, Trial(seed=seed))["val"] for seed in range(30)}
        assert seen == {1.0, 2.0, 6.0}
        assert one.evaluate(NasBench201(), arch, Trial(seed=4)) == one.evaluate(NasBench201(), arch, Trial(seed=4))

    def test_goes_to_another_process(self):
        evaluator = pickle.loads(pickle.dumps(TabularEvaluator(small_table(), "val")))
        assert evaluator.evaluate(NasBench201(), from_arch_string(CELL), Trial()) == {"val": 90.0}

    @pytest.mark.parametrize(
        ("settings", "complaint"),
        [
            ({"objectives": "vall"}, r"small.csv has no column 'vall'. Did you mean val\?"),
            ({"objectives": "val", "report": ["tset"]}, "no column 'tset'. "),
            ({"objectives": {"val": "up"}}, "with maximize or minimize"),
            ({"objectives": {}}, "give a column"),
            ({"objectives": "val", "runs": "two"}, "runs = 'two' is neither"),
            ({"objectives": "note"}, "column 'note' of row .* is 'x', which is no number"),
            ({"objectives": "hole"}, "column 'hole' of row .* is nan, which is no number"),
        ],
    )
    def test_senseless_settings(self, settings, complaint):
        with pytest.raises(EvaluatorError, match=complaint):
            TabularEvaluator(small_table(note="x", hole=float("nan")), **settings)

    def test_an_arch_that_is_not_there(self):
        with pytest.raises(EvaluatorError, match=r"small.csv has no arch '\|none~0.*its 1 rows are named like '\|nor_conv_3x3"):
            TabularEvaluator(small_table(), "val").evaluate(NasBench201(), NasBench201().grid_arch(0), Trial())

    def test_a_key_of_ones_own(self):
        evaluator = TabularEvaluator(Table("t", {"conv_3x3": {"val": 1.0}}), "val", key=lambda space, arch: arch["cell/0_1"])
        assert evaluator.evaluate(NasBench201(), from_arch_string(CELL), Trial()) == {"val": 1.0}


class TestKeys:
    def test_nasbench201(self):
        assert nasbench201_key(NasBench201(), from_arch_string(CELL)) == CELL

    def test_digits_there_and_back(self):
        rng = Random(0)
        for _ in range(20):
            arch = Macro().random(rng)
            assert arch_from_digits(Macro(), digits_key(Macro(), arch)) == arch
        assert digits_key(Macro(), {f"layer{i}": "mb6_k5" if i else "mb3_k3" for i in range(8)}) == "12222222"

    @pytest.mark.parametrize("digits", ["0", "012012019", "01201203", "0120120x", ""])
    def test_wrong_digits(self, digits):
        with pytest.raises(ArchError, match="is not a digit for each of layer0, layer1"):
            arch_from_digits(Macro(), digits)

    def test_a_space_without_digits(self):
        with pytest.raises(EvaluatorError, match="cannot be a digit: it must always matter"):
            digits_key(MobileNetV3Space(), MobileNetV3Space().random(Random(0)))

    def test_nasbench101_matrix(self):
        matrix = [[0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
        arch = arch_from_matrix(matrix, ["input", "maxpool3x3", "conv1x1-bn-relu", "output"])
        NasBench101().validate(arch)
        assert arch["cell/num_nodes"] == 4
        assert arch["cell/input2"] == [0, 1]
        assert arch["cell/input3"] == [1, 2]
        assert arch["cell/op2"] == "conv1x1-bn-relu"

    @pytest.mark.parametrize(
        ("matrix", "complaint"),
        [([[0, 1]], "need a matrix of 2 by 2"), ([[0, 1], [1, 0]], "an edge on or below"), ([[1, 1], [0, 0]], "an edge on or")],
    )
    def test_a_wrong_matrix(self, matrix, complaint):
        with pytest.raises(ArchError, match=complaint):
            arch_from_matrix(matrix, ["input", "output"])

    def test_isomorphic_cells_share_a_row(self):
        operations = ["input", "maxpool3x3", "conv1x1-bn-relu", "output"]
        straight = arch_from_matrix([[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]], operations)
        swapped = arch_from_matrix(
            [[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]], [operations[i] for i in (0, 2, 1, 3)]
        )
        assert nasbench101_key(NasBench101(), straight) == nasbench101_key(NasBench101(), swapped)
        with pytest.raises(EvaluatorError, match="has cells of NasBench101, not of NasBench201"):
            nasbench101_key(NasBench201(), straight)


class TestPublicTables:
    def test_nasbench201_has_every_arch_once(self, shared):
        table = read_csv(shared / "benchmarks" / "nb201.csv")
        space = NasBench201()
        assert len(table) == space.count()
        evaluator = TabularEvaluator(table, "c100_val_12ep", report=["c100_test_12ep"])
        scores = [evaluator.evaluate(space, space.grid_arch(i), Trial()) for i in range(0, space.count(), 25)]
        assert max(score["c100_test_12ep"] for score in scores) <= 61.18
        best = max(table.rows, key=lambda arch: table.rows[arch]["c100_test_12ep"])
        assert evaluator.evaluate(space, from_arch_string(best), Trial())["c100_test_12ep"] == pytest.approx(61.18)

    def test_latencies_join(self, shared):
        accuracies = read_csv(shared / "benchmarks" / "nb201.csv", key="index")
        latencies = read_csv(shared / "benchmarks" / "nb201_latency.csv", key="index")
        table = accuracies.joined(latencies).keyed_by("arch")
        evaluator = TabularEvaluator(table, {"c100_val_12ep": "maximize", "gold_6226": "minimize"})
        arch = from_arch_string(accuracies.rows["1"]["arch"])
        assert evaluator.evaluate(NasBench201(), arch, Trial()) == {"c100_val_12ep": 57.8, "gold_6226": 15.1792}

    def test_nas_bench_macro(self, shared):
        table = read_json(shared / "benchmarks" / "nas-bench-macro_cifar10.json")
        evaluator = TabularEvaluator(table, "test_acc", report=["mean_acc", "params"])
        assert len(table) == Macro().count() == 6561
        scores = evaluator.evaluate(Macro(), arch_from_digits(Macro(), "22212220"), Trial())
        assert scores["test_acc"] == pytest.approx(scores["mean_acc"]) == pytest.approx(93.127, abs=1e-3)
        rng = Random(1)
        for _ in range(50):
            assert 0 < evaluator.evaluate(Macro(), Macro().random(rng), Trial())["test_acc"] < 93.2
