"""Middlewares: refused proposals are proposed again, and patience ends."""

from __future__ import annotations

import optuna
import pytest

from hubserve.errors import SpaceExhausted, StrategyError
from hubserve.hub import NasBench201
from hubserve.strategy import (
    TPE,
    Chain,
    Deduplication,
    Filter,
    GridSearch,
    Middleware,
    Random,
    RegularizedEvolution,
    suggest_arch,
)
from tests.strategy.conformance import Small

SPACE = NasBench201()


def history(strategy, space, n):
    study = optuna.create_study(direction="maximize", sampler=strategy)
    archs = []
    for _ in range(n):
        trial = study.ask()
        archs.append(suggest_arch(trial, space))
        study.tell(trial, float(len(archs)))
    return archs


def has_no_pooling(arch):
    return "avg_pool_3x3" not in arch.values()


@pytest.mark.parametrize(
    "strategy",
    [
        Random(seed=0),
        GridSearch(seed=0),
        RegularizedEvolution(5, 3, seed=0),
        TPE(seed=0),
        optuna.samplers.RandomSampler(seed=0),
    ],
    ids=lambda strategy: type(strategy).__name__,
)
def test_filter_lets_nothing_else_pass(strategy):
    archs = history(Chain(strategy, Filter(has_no_pooling)), SPACE, 30)
    assert all(map(has_no_pooling, archs))
    assert len({repr(arch) for arch in archs}) > 20


def test_filter_on_a_grid_covers_what_passes_and_ends():
    chain = Chain(GridSearch(seed=0), Filter(lambda arch: arch["kind"] == "conv"))
    study = optuna.create_study(sampler=chain)
    archs = [suggest_arch(study.ask(), Small()) for _ in range(9)]
    assert len({repr(arch) for arch in archs}) == 9
    trial = study.ask()
    with pytest.raises(SpaceExhausted, match="all archs of Small had their turn"):
        suggest_arch(trial, Small())


def test_patience_ends():
    with pytest.raises(SpaceExhausted, match="Filter refused 7 proposals of Random for one trial"):
        history(Chain(Random(seed=0), Filter(lambda arch: False, patience=7)), SPACE, 1)


def test_deduplication():
    repeating = history(Random(dedup=False, seed=0), Small(), 11)
    assert len({repr(arch) for arch in repeating}) < 11
    archs = history(Chain(Random(dedup=False, seed=0), Deduplication()), Small(), 11)
    assert len({repr(arch) for arch in archs}) == 11
    with pytest.raises(SpaceExhausted, match="Deduplication refused 1000 proposals"):
        history(Chain(Random(dedup=False, seed=0), Deduplication()), Small(), 12)


def test_first_one_first_and_each_is_reported_the_space():
    asked = []

    class Asks(Middleware):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def bind(self, space):
            asked.append((self.name, type(space).__name__))

        def accepts(self, study, trial, arch):
            asked.append((self.name, trial.number))
            return len(asked) != 4

    history(Chain(Random(seed=0), Asks("a"), Asks("b")), SPACE, 1)
    assert asked == [("a", "NasBench201"), ("b", "NasBench201"), ("a", 0), ("b", 0), ("a", 0), ("b", 0)]


def test_the_seed_is_the_strategys():
    chain = Chain(Random(seed=5), Filter(has_no_pooling))
    assert chain.seed == 5
    other = Chain(Random(seed=1), Filter(has_no_pooling))
    other.seed = 5
    assert history(other, SPACE, 5) == history(chain, SPACE, 5)


def test_a_study_that_asks_parameter_by_parameter_is_refused():
    study = optuna.create_study(sampler=Chain(Random(), Deduplication()))
    with pytest.raises(StrategyError, match=r"must know its space before the first trial: call strategy.bind\(space\)"):
        study.ask().suggest_categorical("a", (1, 2))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Chain(Random(), Random()), "is no middleware; known are Filter, Deduplication"),
        (lambda: Filter(has_no_pooling, patience=0), "Filter: patience = 0 must be at least 1"),
        (lambda: Filter(has_no_pooling, 0.0), "refused archs are no trials here"),
        (lambda: Deduplication("replay"), "wrap the evaluator in hubserve.evaluator.Replay"),
        (lambda: Deduplication("skip"), "action = 'skip' is not"),
    ],
)
def test_senseless_settings(make, complaint):
    with pytest.raises(StrategyError, match=complaint):
        make()
