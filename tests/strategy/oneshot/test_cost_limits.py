"""Costs, tables of them, and penalties."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import pytest
import torch
from torch import nn

from hubserve.errors import StrategyError
from hubserve.space import ModelSpace
from hubserve.strategy import DARTS, ENAS, Penalty, Proxyless
from hubserve.strategy.oneshot.arch_costs import MeasuredCost
from hubserve.strategy.oneshot.cost_table import CostTable
from tests.strategy.oneshot.data import Noise
from tests.supernet.spaces import SIZE, TINY, Small

SHAPE = (3, SIZE, SIZE)


@pytest.mark.slow
class TestCostTable:
    @pytest.mark.parametrize("name", ["NasBench201", "ProxylessNAS"])
    def test_is_exact_where_costs_add_up(self, name):
        space = TINY[name]
        cost = MeasuredCost("params", space, SHAPE)
        table = CostTable(space, cost, Random(0))
        assert table.r2 == pytest.approx(1.0, abs=1e-4)
        for seed in range(5):
            arch = space.random(Random(100 + seed))
            assert table.estimate(arch) == pytest.approx(cost(arch), rel=0.01)

    def test_tells_how_good_it_is_elsewhere(self):
        space = Small()
        table = CostTable(space, MeasuredCost("macs", space, SHAPE), Random(0))
        assert 0.2 < table.r2 < 0.999

    def test_the_expectation_is_the_mean_over_drawn_archs(self):
        space, rng = TINY["ProxylessNAS"], Random(1)
        table = CostTable(space, MeasuredCost("params", space, SHAPE), Random(0))
        probabilities = {label: torch.rand(len(c.candidates)).softmax(0) for label, c in space.choices.items()}
        drawn = []
        for _ in range(3000):
            answers = {label: rng.choices(space.choices[label].candidates, p.tolist())[0] for label, p in probabilities.items()}
            drawn.append(table.estimate(answers))
        assert float(table.expected(probabilities)) == pytest.approx(sum(drawn) / len(drawn), rel=0.01)

    def test_has_a_gradient(self):
        space = TINY["NasBench201"]
        table = CostTable(space, MeasuredCost("params", space, SHAPE), Random(0))
        logits = {label: torch.zeros(5, requires_grad=True) for label in space.choices}
        table.expected({label: value.softmax(0) for label, value in logits.items()}).backward()
        # none, skip_connect, conv_1x1, conv_3x3, avg_pool_3x3: only convolutions cost.
        for value in logits.values():
            assert value.grad[3] > value.grad[2] > value.grad[0]
            assert value.grad[3] > 0 > value.grad[0] == pytest.approx(float(value.grad[4]), rel=0.01)


def test_a_choice_with_a_single_answer_costs_what_it_costs():
    """Here of all of its three inputs: no probabilities are learnt."""

    @dataclass(frozen=True)
    class Inputs(ModelSpace):
        def build(self, pick):
            chosen, width = pick.inputs("i", 3, 3), pick("w", (1, 2))
            return nn.Linear(len(chosen), width)

    space = Inputs()
    table = CostTable(space, lambda arch: 10.0 * len(arch["i"]) + arch["w"], Random(0))
    assert float(table.expected({"w": torch.tensor([1.0, 0.0])})) == pytest.approx(table.estimate({"i": [0, 1, 2], "w": 1}))


class TestPenalty:
    @pytest.mark.parametrize(
        ("nonlinear", "cost", "expected"),
        [
            ("linear", 150.0, 3.0),
            ("linear", 50.0, 1.0),
            ("positive", 50.0, 2.0),
            ("positive", 150.0, 3.0),
            ("negative", 150.0, 2.0),
            ("negative", 50.0, 1.0),
            ("absolute", 50.0, 3.0),
        ],
    )
    def test_adds(self, nonlinear, cost, expected):
        penalty = Penalty("macs", 100.0, scale=2.0, nonlinear=nonlinear)
        assert float(penalty.apply(torch.tensor(2.0), cost)) == pytest.approx(expected)

    def test_multiplies(self):
        penalty = Penalty("macs", 100.0, scale=0.5, aggregate="mul")
        assert float(penalty.apply(torch.tensor(3.0), 400.0)) == pytest.approx(6.0)
        assert float(penalty.apply(torch.tensor(-3.0), 400.0)) == pytest.approx(-1.5), "a reward falls as the cost rises"

    def test_its_gradient_goes_through_the_cost(self):
        cost = torch.tensor(150.0, requires_grad=True)
        Penalty("macs", 100.0, scale=2.0).apply(torch.tensor(1.0), cost).backward()
        assert float(cost.grad) == pytest.approx(0.02)

    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            ({"baseline": 0}, "baseline"),
            ({"nonlinear": "cubic"}, "cubic"),
            ({"aggregate": "max"}, "max"),
            ({"scal": 1}, "'scal'"),
        ],
    )
    def test_senseless_values_are_refused(self, arguments, match):
        with pytest.raises(StrategyError, match=match):
            DARTS(penalty={"profiler": "macs", "baseline": 1.0, **arguments})

    @pytest.mark.parametrize("strategy", [DARTS, Proxyless])
    def test_a_heavy_penalty_makes_small_networks_likely(self, strategy):
        space = TINY["NasBench201"]
        penalty = {"profiler": "params", "baseline": 1000.0, "scale": 100.0}
        result = strategy(arc_learning_rate=0.1, penalty=penalty).run(space, Noise(batches=10), device="cpu")
        assert not {"conv_1x1", "conv_3x3"} & set(result.arch.values())

    def test_the_result_and_the_log_tell_how_good_the_table_of_costs_is(self, caplog):
        caplog.set_level("INFO")
        exact = DARTS(penalty={"profiler": "params", "baseline": 1000.0}).run(TINY["NasBench201"], Noise(), device="cpu")
        assert exact.cost_r2 == pytest.approx(1.0, abs=1e-4)
        (reported,) = [record for record in caplog.records if "r2 = 1.000" in record.getMessage()]
        assert reported.levelname == "INFO"
        coin = Random(0)
        noise = Penalty(lambda arch: coin.random(), 1.0)
        assert Proxyless(penalty=noise).run(Small(), Noise(), device="cpu").cost_r2 < 0.5
        reported = [record for record in caplog.records if "table of costs with r2" in record.getMessage()]
        assert [record.levelname for record in reported] == ["INFO", "WARNING"]
        assert DARTS().run(Small(), Noise(), device="cpu").cost_r2 is None

    def test_of_a_sampled_arch_is_in_the_reward(self):
        penalty = Penalty(lambda arch: 300.0, 100.0, scale=10.0)
        row = ENAS(penalty=penalty, final_samples=1).run(Small(), Noise(), device="cpu").history[0]
        assert row["reward"] == pytest.approx(-row["val_loss"] - 20.0, rel=1e-5)


def test_latency_is_measured():
    space = TINY["NasBench201"]
    assert MeasuredCost("latency_ms", space, SHAPE)(space.random(Random(0))) > 0
