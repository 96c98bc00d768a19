"""Gradients of DARTS in both orders, against what they should be exactly."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional

from hubserve.errors import StrategyError
from hubserve.space import ModelSpace
from hubserve.strategy import DARTS
from tests.strategy.oneshot.data import Noise
from tests.supernet.spaces import TINY, Small


@dataclass(frozen=True)
class Smooth(ModelSpace):
    """One choice of each kind that is blended, and nothing that has a corner."""

    def build(self, pick):
        width = pick("width", (4, 8))
        blocks = pick.repeat("depth", (1, 2), lambda i: nn.Sequential(nn.Conv2d(width, width, 1), nn.Tanh()))
        return nn.Sequential(
            nn.Conv2d(3, width, 3),
            nn.Tanh(),
            pick.layer("op", {"a": lambda: nn.Conv2d(width, width, 1), "b": lambda: nn.AvgPool2d(3, 1, 1)}),
            *blocks,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, 10),
        )


class Plain(Noise):
    def make_optimizer(self, parameters):
        return torch.optim.SGD(parameters, 0.5)

    def make_schedule(self, optimizer, total_steps):
        return None


def search_on(space, order):
    evaluator = Plain(batches=1, double=True)
    search = DARTS(order=order).search(space, evaluator, seed=0, total_steps=1)
    search.net.double()
    search.prepare(evaluator.batches[0][0])
    for seed, logits in enumerate(search.net.archs.parameters()):
        logits.detach().copy_(torch.randn(len(logits), generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    return search, evaluator


def taken_gradients(search, evaluator):
    """What one step on the logits hands to their optimizer."""
    taken = {}
    search.step_logits = lambda gradients: taken.update(gradients)
    search.arch_step(evaluator.batches[0], evaluator.batches[1])
    return taken


@pytest.mark.parametrize("order", [1, 2])
def test_the_gradient_is_that_of_numerical_differentiation(order):
    search, evaluator = search_on(Smooth(), order)
    (x, y), (x_val, y_val) = evaluator.batches
    net = search.net
    assert net.blended == {"width", "depth", "op"}

    def validation_loss():
        moved = None
        if order == 2:
            leaves = net.network().subnet.leaves
            found = torch.autograd.grad(functional.cross_entropy(net(x), y), list(leaves.values()))
            moved = {key: leaf - 0.5 * g for (key, leaf), g in zip(leaves.items(), found, strict=True)}
        return functional.cross_entropy(net(x_val, weights=moved), y_val).item()

    taken = taken_gradients(search, evaluator)
    for label, logits in net.archs.logits.items():
        for i in range(len(logits)):
            values = []
            for step in (1e-5, -1e-5):
                logits.detach()[i] += step
                values.append(validation_loss())
                logits.detach()[i] -= step
            numerical = (values[0] - values[1]) / 2e-5
            assert float(taken[label][i]) == pytest.approx(numerical, rel=1e-5, abs=1e-9), (label, i)


def test_the_second_order_is_another_gradient():
    first, second = (taken_gradients(*search_on(Smooth(), order)) for order in (1, 2))
    assert all(not torch.allclose(first[label], second[label], rtol=1e-3) for label in first)


def test_a_step_on_the_logits_leaves_the_weights_alone():
    search, evaluator = search_on(Smooth(), 2)
    before = {key: tensor.clone() for key, tensor in search.supernet.tensors.named_parameters()}
    search.arch_step(evaluator.batches[0], evaluator.batches[1])
    for key, tensor in search.supernet.tensors.named_parameters():
        assert torch.equal(tensor, before[key])
        assert tensor.grad is None


def test_a_step_on_the_weights_leaves_the_logits_alone():
    search, evaluator = search_on(Smooth(), 1)
    before = [logits.detach().clone() for logits in search.net.archs.parameters()]
    search.weight_step(*evaluator.batches[0])
    assert all(torch.equal(a, b) for a, b in zip(search.net.archs.parameters(), before, strict=True))


def test_warm_up_trains_weights_only():
    result = DARTS(warmup_epochs=1).run(Small(), Noise(epochs=2), device="cpu")
    assert [("val_loss" in row) for row in result.history] == [False, False, True, True]


def test_none_can_win_where_it_is_a_candidate():
    net = DARTS().search(TINY["NasBench201"], Noise(), seed=0, total_steps=1).net
    net.archs.logits["cell/0_1"].detach()[0] = 5.0
    assert net.archs.arch()["cell/0_1"] == "none"


def test_probabilities_are_noted_now_and_then():
    result = DARTS(log_prob_every_n_step=2, arc_learning_rate=0.1).run(Small(), Noise(batches=4), device="cpu")
    rows = [row["probabilities"] for row in result.history]
    assert rows[0] == rows[1] != rows[2] == rows[3]


def test_the_same_seed_gives_the_same_history():
    one, two, other = (DARTS().run(Small(), Noise(), seed=seed, device="cpu").history for seed in (1, 1, 2))
    assert one == two != other


@pytest.mark.parametrize(
    ("arguments", "match"),
    [({"order": 3}, "order = 3"), ({"arc_learning_rate": 0}, "arc_learning_rate"), ({"warmup_epochs": -1}, "warmup_epochs")],
)
def test_senseless_arguments_are_refused(arguments, match):
    with pytest.raises(StrategyError, match=match):
        DARTS(**arguments)
