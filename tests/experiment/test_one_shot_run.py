"""One-shot strategies in an experiment; the strategies themselves have tests of their own."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random as Rng

import pytest
import torch
from optuna.trial import create_trial
from torch import nn
from torch.utils.data import TensorDataset

from hubserve.errors import ExperimentError, StrategyError
from hubserve.evaluator import Classification, Objective
from hubserve.experiment import Constraint, NasExperiment, time_spent
from hubserve.experiment.time_spent import seconds_spent
from hubserve.space import ModelSpace
from hubserve.strategy import DARTS, GridSearch, OneShotResult, OneShotStrategy, Random, RandomOneShot
from hubserve.supernet import Supernet
from tests.experiment.small import Value


@dataclass(frozen=True)
class Wide(ModelSpace):
    """Three archs with a batch norm; images (batch, 3, 4, 4), 3 classes."""

    def build(self, pick):
        width = pick("width", (4, 8, 12))
        conv = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        return nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3))


class SinglePath(OneShotStrategy):
    """Uniform single paths, as short as can be; ends in the supernet, or in the arch that it is given."""

    def __init__(self, arch=None):
        self._arch = arch

    def search(self, *args, **settings):
        raise AssertionError("run does it all")

    def run(self, space, evaluator, *, seed, folder, on_step, should_stop):
        supernet, rng, history = Supernet(space, seed=seed), Rng(seed), []
        optimizer = torch.optim.SGD(supernet.parameters(), lr=0.1)
        supernet.train()
        for epoch in range(evaluator.max_epochs):
            for inputs, targets in evaluator.train_batches(seed + epoch):
                optimizer.zero_grad()
                loss = evaluator.loss(supernet(inputs, space.random(rng)), targets)
                loss.backward()
                optimizer.step()
                history.append({"step": len(history), "epoch": epoch, "train_loss": loss.item()})
                on_step(history[-1])
                if should_stop():
                    return OneShotResult(None, supernet, tuple(history), True)
        return OneShotResult(self._arch, supernet.eval(), tuple(history))


def colours(n=96, seed=0):
    """Images of noise, brightest in the plane of their class."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(n) % 3
    return TensorDataset(torch.randn(n, 3, 4, 4, generator=generator) + 2 * torch.eye(3)[targets][:, :, None, None], targets)


def evaluator(epochs=6):
    return Classification(
        train_dataloaders=colours(), val_dataloaders=colours(seed=1), batch_size=16, max_epochs=epochs, accelerator="cpu"
    )


def experiment(tmp_path, strategy, **settings):
    return NasExperiment(Wide(), evaluator(), strategy, folder=tmp_path, seed=2, **settings)


def test_an_objective_that_nobody_measures(tmp_path):
    steps = []
    f1 = Objective("f1", "maximize")
    search = experiment(tmp_path, DARTS(), name="one", objectives=(f1,), on_step=steps.append)
    with pytest.raises(ExperimentError, match=r"the evaluator gave \[.*'val_acc'.*\] and not the objective 'f1'.*are kept in"):
        search.run()
    trained = len(steps)
    again = experiment(tmp_path, DARTS(), name="two", on_step=steps.append)
    assert "ended in one arch" in again.run()
    assert len(steps) == trained > 0, "as the message says: what is trained is not trained again"


def test_an_arch_becomes_a_trial_with_its_shared_weights(tmp_path):
    steps = []
    search = experiment(tmp_path, SinglePath({"width": 8}), name="one", on_step=steps.append)
    assert "ended in one arch" in search.run()
    assert search.export_top_models() == [{"width": 8}]
    assert len(steps) == 36 == len(search.one_shot.history)
    (record,) = search.trials
    (model,) = search.export_top_models(formatter="instance")
    assert search.evaluator.validate(model)["val_acc"] == record.scores["val_acc"] > 0.8
    # Shared weights, and statistics of this arch alone.
    extracted = search.one_shot.supernet.extract({"width": 8})
    assert torch.equal(model[0][0].weight, extracted[0][0].weight)
    assert not torch.equal(model[0][1].running_mean, extracted[0][1].running_mean)
    before = search.evaluator.validate(extracted)["val_acc"]
    assert record.scores["val_acc before recalibration"] == before
    # Run again, it is the same trial.
    again = experiment(tmp_path, SinglePath({"width": 8}), name="one")
    again.resume()
    assert len(again.trials) == 1


def test_more_epochs_give_a_further_trial(tmp_path):
    def run(epochs, **settings):
        search = NasExperiment(Wide(), evaluator(epochs), DARTS(), name="one", folder=tmp_path, seed=2, **settings)
        search.run_or_resume()
        return search

    assert [record.number for record in run(1).trials] == [0]
    longer = run(3)
    assert [record.number for record in longer.trials] == [0, 1]
    assert len(longer.one_shot.history) == 18
    again = run(3)
    assert [record.scores for record in again.trials] == [record.scores for record in longer.trials]
    with pytest.raises(StrategyError, match="epochs was 3 and is 1"):
        run(1)


def test_a_trial_of_an_earlier_version_is_stored_once(tmp_path):
    search = experiment(tmp_path, SinglePath({"width": 8}), name="one")
    search.run()
    (trial,) = search.study.get_trials()
    attributes = {name: value for name, value in trial.user_attrs.items() if name != "supernet_epochs"}
    for arch, count in (({"width": 8}, 1), ({"width": 4}, 2)):
        old = experiment(tmp_path / str(count), SinglePath(arch), name="one")
        old.study.add_trial(
            create_trial(params=trial.params, distributions=trial.distributions, values=trial.values, user_attrs=attributes)
        )
        old.run()
        assert len(old.trials) == count


def test_scores_of_a_supernet_that_was_trained_less_are_not_mixed(tmp_path):
    def run(epochs):
        search = NasExperiment(
            Wide(), evaluator(epochs), RandomOneShot(), name="one", folder=tmp_path, seed=2, search_strategy=Random(seed=1),
            max_trials=2,
        )  # fmt: skip
        search.run()
        return search

    assert len(run(1).trials) == 2
    with pytest.raises(ExperimentError, match=r"2 trials .* 1 epochs, and max_epochs is 2: .*supernet' and seed = 2"):
        run(2)
    assert len(run(1).trials) == 2
    result = RandomOneShot().run(Wide(), evaluator(2), folder=tmp_path / "supernet", seed=2)
    assert len(result.history) == 12


def test_a_supernet_is_searched(tmp_path):
    search = experiment(tmp_path, SinglePath(), search_strategy=GridSearch(seed=1))
    assert "exhausted" in search.run()
    assert sorted(record.arch["width"] for record in search.trials) == [4, 8, 12]
    assert all(record.scores["val_acc"] > 0.7 for record in search.trials)
    assert not any("val_acc before recalibration" in record.scores for record in search.trials)
    models = search.export_top_models(3, formatter="instance")
    for model, record in zip(models, search.top_trials(3), strict=True):
        assert search.evaluator.validate(model)["val_acc"] == record.scores["val_acc"]


def test_without_a_search_it_ends_in_the_supernet(tmp_path):
    search = experiment(tmp_path, SinglePath())
    assert "search_strategy" in search.run()
    assert search.trials == ()
    assert search.one_shot.supernet.extract({"width": 4})[3].weight.shape == (3, 4)


def test_it_stops_when_asked(tmp_path):
    def on_step(row):
        if row["step"] == 4:
            search.stop()

    search = experiment(tmp_path, SinglePath(), on_step=on_step)
    assert search.run() == "stopped on request"
    assert len(search.one_shot.history) == 5


def test_time_of_the_supernet_counts_when_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(time_spent, "NOTE_SECONDS", 0.0)
    noted = []

    def die(row):
        noted.append(seconds_spent(search.study))
        if row["step"] == 3:
            raise KeyboardInterrupt

    search = experiment(tmp_path, SinglePath(), name="timed", on_step=die)
    with pytest.raises(KeyboardInterrupt):
        search.run()
    # What a kill at any step would leave.
    assert 0 < noted[0] < noted[1] < noted[2] < noted[3] <= seconds_spent(search.study)
    search.study.set_user_attr(time_spent.SUPERNET_SECONDS, 50.0)
    again = experiment(tmp_path, SinglePath(), name="timed", max_seconds=60)
    again.run()
    assert seconds_spent(again.study) > 50
    again.study.set_user_attr(time_spent.SUPERNET_SECONDS, 60.0)
    over = experiment(tmp_path, SinglePath(), name="timed", max_seconds=60)
    assert over.run() == "the time is over"
    assert len(over.one_shot.history) == 1


def test_constraints_hold_for_its_arch_too(tmp_path):
    constraint = Constraint("params", "<=", 10)
    search = experiment(tmp_path, SinglePath({"width": 8}), constraints=[constraint], input_shape=(3, 4, 4))
    assert "no arch met the constraints" in search.run()
    assert [record.state for record in search.trials] == ["infeasible"]


def test_what_does_not_go_together_is_refused(tmp_path):
    with pytest.raises(ExperimentError, match=r"trains shared weights, and Value does not say how"):
        NasExperiment(Wide(), Value(), SinglePath(), folder=tmp_path)
    with pytest.raises(ExperimentError, match="'Random' is neither"):
        experiment(tmp_path, "Random")
    with pytest.raises(ExperimentError, match="follows a one-shot strategy"):
        experiment(tmp_path, Random(), search_strategy=Random())
