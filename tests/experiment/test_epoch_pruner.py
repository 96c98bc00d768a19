"""Pruners over epochs: when trials are compared, who goes on, and that strategies see all trials."""

from __future__ import annotations

from collections import Counter

import optuna
import pytest
from optuna.pruners import HyperbandPruner, MedianPruner, SuccessiveHalvingPruner

from hubserve.evaluator import Evaluator
from hubserve.experiment import NasExperiment
from hubserve.experiment.epoch_pruner import EpochPruner
from hubserve.strategy import GridSearch, RegularizedEvolution
from hubserve.strategy.optuna_internals import Hyperband
from tests.experiment.small import SIZE, Small, value

EPOCHS = 9


class Epochs(Evaluator):
    """Reports the value of the arch after each of 9 epochs."""

    def evaluate(self, space, arch, trial):
        for epoch in range(EPOCHS):
            trial.report(epoch, value(arch))
        return {"default": value(arch)}


def searched(folder, pruner, strategy=None, **settings):
    memory = optuna.storages.InMemoryStorage()
    experiment = NasExperiment(
        Small(), Epochs(), strategy or GridSearch(seed=1), pruner=pruner, folder=folder, storage=memory, seed=1, **settings
    )
    experiment.run()
    return experiment


def lengths(experiment):
    """How many trials ended after how many epochs."""
    return Counter(len(record.intermediate) for record in experiment.trials)


def test_successive_halving_compares_after_1_3_and_9_epochs(tmp_path):
    experiment = searched(tmp_path, EpochPruner(SuccessiveHalvingPruner(min_resource=1, reduction_factor=3), epochs=EPOCHS))
    ended = lengths(experiment)
    assert set(ended) == {1, 3, 9}
    # About two of three end at each comparison; early ones have fewer to be compared with and go on more often.
    assert ended[1] > SIZE / 2
    assert ended[1] > ended[3]
    assert sum(ended.values()) == SIZE
    assert value(experiment.export_top_models()[0]) == max(value(record.arch) for record in experiment.trials)


def test_a_trial_is_not_ended_after_its_last_epoch(tmp_path):
    pruner = EpochPruner(optuna.pruners.ThresholdPruner(lower=100.0, n_warmup_steps=EPOCHS - 1), epochs=EPOCHS)
    assert {record.state for record in searched(tmp_path / "a", pruner, max_trials=4).trials} == {"complete"}
    unknown = EpochPruner(optuna.pruners.ThresholdPruner(lower=100.0, n_warmup_steps=EPOCHS - 1))
    assert {record.state for record in searched(tmp_path / "b", unknown, max_trials=4).trials} == {"pruned"}


def test_hyperband_has_brackets_by_the_seed_and_not_by_the_name(tmp_path):
    def run(folder, seed):
        pruner = EpochPruner(Hyperband(min_resource=1, max_resource=EPOCHS, seed=seed), epochs=EPOCHS)
        experiment = searched(tmp_path / folder, pruner, name=folder)
        return [len(record.intermediate) for record in experiment.trials]

    first = run("a", 1)
    assert set(first) == {1, 3, 9}
    assert first == run("b", 1)
    assert first != run("c", 2)
    # Brackets in which trials run longer are drawn, too: fewer end after one epoch than without brackets.
    alone = searched(tmp_path / "d", EpochPruner(SuccessiveHalvingPruner(min_resource=1, reduction_factor=3), epochs=EPOCHS))
    assert Counter(first)[1] < lengths(alone)[1]


def test_strategies_see_the_trials_of_all_brackets(tmp_path):
    pruner = EpochPruner(Hyperband(min_resource=1, max_resource=EPOCHS, seed=1), epochs=EPOCHS)
    evolution = RegularizedEvolution(population_size=5, sample_size=2, seed=1)
    experiment = searched(tmp_path, pruner, evolution, max_trials=60)
    assert len({repr(record.arch) for record in experiment.trials}) == 60


def test_the_median_is_taken_at_the_same_step(tmp_path):
    wrapped = searched(tmp_path / "a", EpochPruner(MedianPruner(n_startup_trials=4)))
    alone = searched(tmp_path / "b", MedianPruner(n_startup_trials=4))
    assert [record.state for record in wrapped.trials] == [record.state for record in alone.trials]
    assert {record.state for record in wrapped.trials} == {"complete", "pruned"}


@pytest.mark.parametrize("wrong", [{"min_resource": 0}, {"reduction_factor": 1}, {"max_resource": "all"}])
def test_numbers_out_of_their_range_are_refused_at_once(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Hyperband(**wrong)
    assert isinstance(Hyperband(), HyperbandPruner)
