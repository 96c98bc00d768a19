"""Random archs in which the answers to each choice come equally often."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from torch import nn

from hubserve.hub import NasBench201
from hubserve.space import ModelSpace
from hubserve.strategy import PairwiseGP, suggest_arch
from hubserve.strategy.balanced_archs import balanced_arch
from tests.strategy.conformance import Small


@dataclass(frozen=True)
class Weighted(ModelSpace):
    """A choice with weights, one of which is 0, and any number of three inputs."""

    def build(self, pick):
        pick("op", ("often", "never", "rarely"), weights=(3, 0, 1))
        pick.inputs("in", 3, n_chosen=None)
        return nn.Identity()


def test_each_answer_comes_equally_often():
    space = NasBench201()
    archs = [balanced_arch(space, number, 20, seed=3) for number in range(20)]
    for label in space.choices:
        assert set(Counter(arch[label] for arch in archs).values()) == {4}
    assert len({tuple(arch.values()) for arch in archs}) > 15
    assert archs[7] == balanced_arch(space, 7, 20, seed=3) != balanced_arch(space, 7, 20, seed=4)


def test_weights_and_lists_of_inputs():
    space = Weighted()
    archs = [balanced_arch(space, number, 8, seed=0) for number in range(8)]
    assert Counter(arch["op"] for arch in archs) == {"often": 6, "rarely": 2}
    assert len({tuple(arch["in"]) for arch in archs}) == space.choices["in"].size == 8


def test_archs_obey_conditions_and_rules():
    space = Small()
    archs = [balanced_arch(space, number, 40, seed=1) for number in range(40)]
    assert all(space.canonical(arch) == arch for arch in archs if arch is not None)
    assert 0 < archs.count(None) < 20


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_search_begins_with_them():
    import optuna

    space = NasBench201()
    study = optuna.create_study(sampler=PairwiseGP(initial=10, seed=5))
    study.optimize(lambda trial: len(set(suggest_arch(trial, space).values())), n_trials=11)
    for label in space.choices:
        assert set(Counter(trial.params[label] for trial in study.trials[:10]).values()) == {2}
