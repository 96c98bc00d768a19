"""Grid search: every arch once, in order or shuffled."""

from __future__ import annotations

import optuna
import pytest

from hubserve.errors import SpaceExhausted
from hubserve.experiment import open_storage
from hubserve.hub import NasBench201
from hubserve.strategy import Chain, Filter, GridSearch, suggest_arch
from tests.strategy.conformance import Small


def history(strategy, space, n):
    study = optuna.create_study(sampler=strategy)
    archs = []
    for _ in range(n):
        trial = study.ask()
        archs.append(suggest_arch(trial, space))
        study.tell(trial, 0.0)
    return archs


def test_in_order_is_the_order_of_the_numbers():
    space = NasBench201()
    assert history(GridSearch(shuffle=False), space, 10) == [space.grid_arch(i) for i in range(10)]


@pytest.mark.parametrize("shuffle", [True, False])
def test_covers_all_archs_exactly_once(shuffle):
    space = NasBench201()
    strategy = GridSearch(shuffle, seed=7)
    strategy.bind(space)
    archs = [tuple(arch.values()) for _, arch in strategy._walk()]
    assert len(archs) == len(set(archs)) == 15_625


def test_passes_over_what_the_rules_refuse_and_ends():
    archs = history(GridSearch(seed=1), Small(), 11)
    assert len({repr(arch) for arch in archs}) == 11
    with pytest.raises(SpaceExhausted, match="all archs of Small had their turn"):
        history(GridSearch(seed=1), Small(), 12)


def test_without_dedup_it_starts_over():
    """The rules of the space refuse one of its twelve archs; none of the others has a second turn before all had one."""
    archs = history(GridSearch(dedup=False, seed=1), Small(), 33)
    assert len({repr(arch) for arch in archs[:11]}) == 11
    assert archs[11:22] == archs[:11] == archs[22:]


def test_without_dedup_a_filter_repeats_nothing_before_all_had_their_turn():
    strategy = Chain(GridSearch(shuffle=False, dedup=False), Filter(lambda arch: arch["in"] == [0]))
    archs = history(strategy, Small(), 12)
    different = len({repr(arch) for arch in archs})
    assert 2 < different < 11
    assert all(archs[i] == archs[i % different] for i in range(12))


def test_without_dedup_a_resumed_study_goes_on_where_it_was(tmp_path):
    whole = history(GridSearch(dedup=False, seed=1), Small(), 20)
    storage = open_storage(tmp_path / "study.journal")
    found = []
    for _ in range(4):
        study = optuna.create_study(
            study_name="s", storage=storage, sampler=GridSearch(dedup=False, seed=1), load_if_exists=True
        )
        for _ in range(5):
            trial = study.ask()
            found.append(suggest_arch(trial, Small()))
            study.tell(trial, 0.0)
    assert found == whole


def test_shuffling_is_by_seed_and_mixes():
    space = NasBench201()
    first, second = (history(GridSearch(seed=seed), space, 30) for seed in (1, 2))
    assert first != second
    assert all(len({arch[label] for arch in first}) == 5 for label in space.choices)


def test_a_study_without_a_space_is_covered_too():
    study = optuna.create_study(sampler=GridSearch(seed=0))
    study.optimize(lambda t: t.suggest_categorical("a", (1, 2, 3)) * t.suggest_int("b", 1, 2), n_trials=50)
    assert len(study.get_trials()) == len({tuple(trial.params.values()) for trial in study.get_trials()}) == 6
