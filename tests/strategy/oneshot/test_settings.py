"""The evaluator's settings: met, or refused before anything is trained."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.utils.data import TensorDataset

from hubserve.errors import EvaluatorError, StrategyError, SupernetError
from hubserve.evaluator import Classification
from hubserve.strategy import DARTS, ENAS, GumbelDARTS, Proxyless, RandomOneShot
from hubserve.strategy.oneshot import base
from tests.supernet.spaces import TINY, Small, images


def evaluator(**settings) -> Classification:
    data = TensorDataset(images(8), torch.arange(8))
    defaults = {"batch_size": 4, "max_epochs": 1, "accelerator": "cpu"}
    return Classification(train_dataloaders=data, val_dataloaders=data, **(defaults | settings))


@pytest.mark.parametrize(
    ("settings", "reported"),
    [
        ({"ema_decay": 0.9}, "ema_decay = 0.9"),
        ({"drop_path_prob": 0.2}, "drop_path_prob = 0.2"),
        ({"precision": "bf16"}, "precision = 'bf16-mixed'"),
        ({"accumulate_grad_batches": 2, "max_steps": 7}, "accumulate_grad_batches = 2 and max_steps = 7"),
        ({"devices": 2}, "devices = 2"),
    ],
)
def test_what_means_nothing_for_shared_weights_is_refused_before_the_start(settings, reported):
    class NoData(Classification):
        def train_batches(self, seed):
            raise AssertionError("it has begun")

    with pytest.raises(StrategyError, match=f"shared weights are trained without {reported}: .*retrain"):
        RandomOneShot().run(Small(), NoData(**settings))


@pytest.mark.parametrize("make", [RandomOneShot, DARTS, Proxyless, lambda **clip: ENAS(final_samples=1, **clip)])
def test_gradients_are_clipped_as_the_evaluator_says_unless_the_strategy_says_otherwise(make):
    def weights(strategy, **settings):
        found = strategy.run(TINY["NasBench201"], evaluator(optimizer="sgd", learning_rate=0.5, **settings)).supernet
        return torch.cat([parameter.detach().flatten() for parameter in found.parameters()])

    clipped = weights(make(gradient_clip_val=0.01))
    assert torch.equal(weights(make(), gradient_clip_val=0.01), clipped)
    assert torch.equal(weights(make(gradient_clip_val=0.01), gradient_clip_val=5.0), clipped)
    assert not torch.equal(weights(make()), clipped)


def test_it_trains_where_the_evaluator_says(monkeypatch):
    # As on a machine with a GPU, whose memory is what is asked for last before the first step.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(base, "machine_bytes", lambda device: (0, 0))
    with pytest.raises(SupernetError, match="and cpu has 0 MiB"):
        RandomOneShot().run(Small(), evaluator())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EvaluatorError, match="accelerator = 'gpu'"):
        RandomOneShot().run(Small(), evaluator(accelerator="gpu"))


def test_operations_that_vary_are_refused_where_that_is_asked():
    def strict(**settings):
        reported = []
        RandomOneShot().run(
            Small(), evaluator(**settings), on_step=lambda row: reported.append(torch.are_deterministic_algorithms_enabled())
        )
        return set(reported)

    assert (strict(), strict(deterministic=True)) == ({False}, {True})
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("make", [RandomOneShot, DARTS, GumbelDARTS, Proxyless, ENAS])
def test_settings_are_frozen_and_a_run_leaves_them_as_they_are(make):
    strategy = make(gradient_clip_val=1.0)
    before = dataclasses.asdict(strategy)
    strategy.search(Small(), evaluator(), seed=0, total_steps=2)
    assert dataclasses.asdict(strategy) == before
    assert make(gradient_clip_val=1.0) == strategy
    with pytest.raises(dataclasses.FrozenInstanceError):
        strategy.gradient_clip_val = 2.0
