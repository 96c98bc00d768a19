"""The controller learns which paths do well."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import pytest
from torch import nn

from hubserve.errors import StrategyError, SupernetError
from hubserve.space import ModelSpace
from hubserve.strategy import ENAS
from tests.strategy.oneshot.data import Noise
from tests.supernet.spaces import TINY, Small


def test_rewards_move_the_controller():
    """With a reward that counts one operation, that operation is drawn more and more."""
    space = TINY["NasBench201"]
    search = ENAS(batches_per_update=16, learning_rate=0.03).search(space, Noise(), seed=0, total_steps=1)
    search.begin(0, iter(()))
    search._reward = lambda arch, x, target: (0.0, float(list(arch.values()).count("conv_3x3")))
    for _ in range(12 * 16):
        search._learn(None, None)
    search.rng = Random(1)
    share = sum(list(search.propose()[0].values()).count("conv_3x3") for _ in range(50)) / 300
    assert share > 0.5


def test_proposals_obey_the_rules_of_the_space():
    space = TINY["NasBench101"]
    search = ENAS().search(space, Noise(), seed=0, total_steps=1)
    for _ in range(50):
        arch, actions = search.propose()
        space.validate(arch)
        assert {label for label, _, _ in actions} == {label for label in arch if space.choices[label].size > 1}


def test_the_arch_is_the_best_of_those_drawn():
    class Favourite(Noise):
        def validate(self, model):
            return {"accuracy": float(sum(isinstance(m, nn.Conv2d) for m in model.modules()))}

    search = ENAS(final_samples=3).search(Small(), Favourite(), seed=0, total_steps=1)
    archs = [
        {"width": 32, "depth": 2, "op_0": "pool", "op_1": "conv", "ks_1": 3},
        {"width": 16, "depth": 2, "op_0": "conv", "ks_0": 5, "op_1": "conv", "ks_1": 3},
        {"width": 64, "depth": 1, "op_0": "pool"},
    ]
    drawn = iter(archs)
    search.propose = lambda rng: (next(drawn), ())
    assert search.arch() == archs[1]


def test_warm_up_is_uniform_and_teaches_nothing():
    result = ENAS(warmup_epochs=1, final_samples=1).run(Small(), Noise(epochs=2), device="cpu")
    assert [("reward" in row) for row in result.history] == [False, False, True, True]


def test_a_score_may_be_the_reward():
    rows = ENAS(reward_metric_name="accuracy", final_samples=1).run(Small(), Noise(), device="cpu").history
    assert all(0.0 <= row["reward"] <= 1.0 for row in rows)
    with pytest.raises(StrategyError, match="'f1' is none"):
        ENAS(reward_metric_name="f1").run(Small(), Noise(), device="cpu")


def test_such_a_reward_is_that_of_the_arch_s_own_statistics():
    class Watched(Noise):
        def validate(self, model):
            measured.extend(int(m.num_batches_tracked) for m in model.modules() if isinstance(m, nn.BatchNorm2d))
            return super().validate(model)

    measured: list[int] = []
    evaluator = Watched(batches=3)
    ENAS(reward_metric_name="accuracy", final_samples=1).run(TINY["NasBench201"], evaluator, device="cpu")
    assert measured
    assert set(measured) == {evaluator.n_train}


def test_too_many_answers_are_refused_by_name():
    @dataclass(frozen=True)
    class Wide(ModelSpace):
        def build(self, pick):
            pick.inputs("many", 20, n_chosen=None)
            return nn.Linear(1, 1)

    with pytest.raises(SupernetError, match="'many' has 1048576 answers"):
        ENAS().run(Wide(), Noise(), device="cpu")


def test_senseless_arguments_are_refused():
    with pytest.raises(StrategyError, match="batches_per_update = 1"):
        ENAS(batches_per_update=1)
