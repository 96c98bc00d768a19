"""The evaluator's settings: met, or refused before anything is trained."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.utils.data import TensorDataset

from hubserve.blocks.cell_network import CellNetwork
from hubserve.errors import EvaluatorError, StrategyError, SupernetError
from hubserve.evaluator import Classification
from hubserve.strategy import DARTS, ENAS, GumbelDARTS, Proxyless, RandomOneShot
from hubserve.strategy.oneshot import base
from hubserve.supernet import Supernet
from tests.supernet.spaces import TINY, Small, images


def evaluator(**settings) -> Classification:
    data = TensorDataset(images(8), torch.arange(8))
    defaults = {"batch_size": 4, "max_epochs": 1, "accelerator": "cpu"}
    return Classification(train_dataloaders=data, val_dataloaders=data, **(defaults | settings))


@pytest.mark.parametrize(
    ("settings", "reported"),
    [
        ({"accumulate_grad_batches": 2, "max_steps": 7}, "accumulate_grad_batches = 2 and max_steps = 7"),
    ],
)
def test_what_means_nothing_for_shared_weights_is_refused_before_the_start(settings, reported):
    class NoData(Classification):
        def train_batches(self, seed):
            raise AssertionError("it has begun")

    with pytest.raises(StrategyError, match=f"shared weights are trained without {reported}: .*retrain"):
        RandomOneShot().run(Small(), NoData(**settings))


def test_drop_path_is_refused_where_all_candidates_run_at_once():
    with pytest.raises(StrategyError, match=r"shared weights are trained without drop_path_prob = 0.2: .*retrain"):
        DARTS().run(Small(), evaluator(drop_path_prob=0.2))


@pytest.mark.parametrize("make", [RandomOneShot, lambda: RandomOneShot(sandwich=1), DARTS, lambda: ENAS(final_samples=1)])
def test_the_average_of_the_weights_is_the_result(make, tmp_path):
    """A supernet whose steps are tiny at the end: the average of its weights lies between the first and the last ones."""

    def run(folder=None, **settings):
        return make().run(TINY["NasBench201"], evaluator(learning_rate=0.01, max_epochs=2, **settings), folder=folder)

    averaged, last = run(tmp_path, ema_decay=0.999).supernet.tensors, run().supernet.tensors
    first = Supernet(TINY["NasBench201"]).tensors
    moved = [key for key, _ in last.named_parameters() if not torch.allclose(last[key], first[key])]
    assert moved
    closer = [key for key in moved if (averaged[key] - first[key]).norm() < (last[key] - first[key]).norm()]
    assert len(closer) > 0.8 * len(moved)
    with pytest.raises(StrategyError, match=r"ema_decay was 0\.999 and is not set"):
        run(tmp_path)


@pytest.mark.parametrize("make", [RandomOneShot, lambda: RandomOneShot(sandwich=1), DARTS, Proxyless])
def test_networks_run_in_the_precision_of_the_evaluator(make, monkeypatch):
    dtypes = set()

    class Seen(Classification):
        def loss(self, output, target):
            if output.requires_grad:
                dtypes.add(output.dtype)
            return super().loss(output, target)

    data = TensorDataset(images(8), torch.arange(8))
    given = Seen(train_dataloaders=data, val_dataloaders=data, batch_size=4, max_epochs=1, accelerator="cpu", precision="bf16")
    make().run(TINY["NasBench201"], given)
    assert torch.bfloat16 in dtypes


@pytest.mark.parametrize("make", [RandomOneShot, lambda: RandomOneShot(sandwich=0)])
def test_drop_path_rises_over_the_epochs(make, monkeypatch):
    seen = []
    monkeypatch.setattr(CellNetwork, "set_drop_path_prob", lambda network, prob: seen.append(prob))
    make().run(TINY["DARTS"], evaluator(drop_path_prob=0.2, max_epochs=2))
    assert seen == [0.0, 0.0, 0.1, 0.1]


@pytest.mark.parametrize("make", [RandomOneShot, DARTS, Proxyless, lambda **clip: ENAS(final_samples=1, **clip)])
def test_gradients_are_clipped_as_the_evaluator_says_unless_the_strategy_says_otherwise(make):
    def weights(strategy, **settings):
        found = strategy.run(TINY["NasBench201"], evaluator(optimizer="sgd", learning_rate=0.5, **settings)).supernet
        return torch.cat([parameter.detach().flatten() for parameter in found.parameters()])

    clipped = weights(make(gradient_clip_val=0.01))
    assert torch.equal(weights(make(), gradient_clip_val=0.01), clipped)
    assert torch.equal(weights(make(gradient_clip_val=0.01), gradient_clip_val=5.0), clipped)
    assert not torch.equal(weights(make()), clipped)
    assert torch.equal(weights(make(gradient_clip_val=0), gradient_clip_val=0.01), weights(make())), "0 does not clip"
    with pytest.raises(StrategyError, match="gradient_clip_val = -1 must be at least 0"):
        make(gradient_clip_val=-1)


@pytest.mark.parametrize("make", [DARTS, ENAS])
def test_a_penalty_is_one_or_its_attributes(make):
    with pytest.raises(StrategyError, match="penalty = 'macs' is neither a Penalty nor a dict"):
        make(penalty="macs")


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
