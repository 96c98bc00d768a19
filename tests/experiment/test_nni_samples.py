"""Programs as NNI's documentation has them, with other import lines and small data."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import Subset

import hubserve as nni
from hubserve.evaluator import Classification, DataLoader, FunctionalEvaluator, load_dataset
from hubserve.experiment import NasExperiment
from hubserve.hub import DARTS, NasBench201
from hubserve.strategy import Random as RandomStrategy
from hubserve.strategy import RegularizedEvolution


def digits(count):
    """Training and validation images (3, 32, 32)."""
    data = load_dataset("digits", size=32)
    return Subset(data.train, range(count)), Subset(data.val, range(count))


def test_search_with_a_function_of_one_s_own(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path))
    train, val = digits(48)

    def train_epoch(model, loader, optimizer):
        model.train()
        for data, target in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(data), target).backward()
            optimizer.step()

    def evaluate_model(model):
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for _ in range(2):
            train_epoch(model, DataLoader(train, batch_size=16, shuffle=True), optimizer)
            model.eval()
            with torch.no_grad():
                right = [(model(data).argmax(1) == target).float() for data, target in DataLoader(val, batch_size=48)]
            accuracy = torch.cat(right).mean().item()
            nni.report_intermediate_result(accuracy)
        nni.report_final_result(accuracy)

    model_space = NasBench201(stem_out_channels=4, num_modules_per_stack=1)
    evaluator = FunctionalEvaluator(evaluate_model)
    exp = NasExperiment(model_space, evaluator, RandomStrategy())
    exp.config.max_trial_number = 3
    exp.config.trial_concurrency = 1
    exp.run()

    assert len(exp.list_trial_jobs()) == 3
    for model_dict in exp.export_top_models(formatter="dict"):
        model_space.validate(model_dict)
    assert all(len(job.intermediate) == 2 for job in exp.list_trial_jobs())


def test_search_with_a_trainer(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path))
    train_data, valid_data = digits(32)
    evaluator = Classification(
        learning_rate=1e-3,
        weight_decay=1e-4,
        train_dataloaders=DataLoader(train_data, batch_size=16, shuffle=True),
        val_dataloaders=DataLoader(valid_data, batch_size=16),
        max_epochs=1,
        num_classes=10,
        enable_progress_bar=False,
    )
    space = NasBench201(stem_out_channels=4, num_modules_per_stack=1)
    experiment = NasExperiment(space, evaluator, RegularizedEvolution(population_size=2, sample_size=1))
    experiment.config.max_trial_number = 4
    experiment.run()
    (model,) = experiment.export_top_models(top_k=1, formatter="instance")
    (arch,) = experiment.export_top_models(formatter="dict")
    # As good as the search said: the weights are those of the trial.
    assert evaluator.validate(model)["val_acc"] == experiment.top_trials()[0].scores["val_acc"]
    assert space.canonical(arch) == arch


def test_retrain_a_searched_model():
    train_data, valid_data = digits(4)
    darts_v2_model = DARTS.load_searched_model("darts-v2")
    before = darts_v2_model.classifier.weight.detach().clone()
    evaluator = Classification(
        learning_rate=1e-3,
        weight_decay=1e-4,
        train_dataloaders=DataLoader(train_data, batch_size=2, shuffle=True),
        val_dataloaders=DataLoader(valid_data, batch_size=2),
        max_epochs=1,
        limit_train_batches=1,
        limit_val_batches=1,
        num_classes=10,
    )
    scores = evaluator.fit(darts_v2_model)
    assert 0.0 <= scores["val_acc"] <= 1.0
    assert not torch.equal(before, darts_v2_model.classifier.weight)
