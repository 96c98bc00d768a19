"""Two candidates at a time, and what their gates say."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from hubserve.errors import SupernetError
from hubserve.space import ModelSpace, OneOf
from hubserve.strategy import Proxyless
from hubserve.strategy.oneshot.proxyless import draw_gates, gate_gradient, keep_others
from hubserve.supernet.blended_layers import MixedLayer
from tests.strategy.oneshot.data import Noise
from tests.supernet.spaces import TINY

CHOICE = OneOf("c", ("a", "b", "c", "d"))


def prepared(name):
    evaluator = Noise()
    search = Proxyless().search(TINY[name], evaluator, seed=0, total_steps=4)
    search.prepare(evaluator.batches[0][0])
    search.net.train()
    return search, evaluator


@pytest.mark.parametrize("name", ["NasBench201", "ProxylessNAS", "DARTS"])
def test_never_more_than_two_candidates_of_a_choice_run(name):
    search, evaluator = prepared(name)
    torch.manual_seed(0)
    for _ in range(3):
        ran = Counter()
        sampled = search.net.sample(search.rng)
        mixed = [m for m in search.net.network(sampled).subnet.network.modules() if isinstance(m, MixedLayer)]
        hooks = [
            candidate.register_forward_hook(lambda *_, place=(i, j), ran=ran: ran.update([place]))
            for i, layer in enumerate(mixed)
            for j, candidate in enumerate(layer.candidates)
        ]
        search.net.sample = lambda rng, sampled=sampled: sampled
        search.arch_step(evaluator.batches[0], evaluator.batches[1])
        for hook in hooks:
            hook.remove()
        per_layer = Counter(layer for layer, _ in ran)
        assert per_layer
        assert max(per_layer.values()) == 2


def test_weights_learn_on_one_path():
    search, evaluator = prepared("NasBench201")
    before = {key: p.detach().clone() for key, p in search.supernet.tensors.named_parameters()}
    search.weight_step(*evaluator.batches[0])
    for edge in ("0_1", "0_2", "2_3"):
        moved = {
            key.split(f"[cell/{edge}=")[1].split("]")[0]
            for key, p in search.supernet.tensors.named_parameters()
            if f"[cell/{edge}=" in key and not torch.equal(p, before[key])
        }
        assert len(moved) <= 1


def test_gates_are_one_and_zero_for_two_likely_candidates():
    torch.manual_seed(0)
    p = torch.tensor([0.1, 0.2, 0.3, 0.4])
    counts = Counter()
    for _ in range(3000):
        blend = draw_gates(CHOICE, p)
        active = int(blend.weights.detach().argmax())
        assert len(set(blend.held)) == 2
        assert active in blend.held
        assert blend.weights.detach().tolist() == [float(i == active) for i in range(4)]
        counts[blend.held] += 1
    # Drawing d, then c, or the other way about: the likeliest pair.
    assert counts.most_common(1)[0][0] == (2, 3)
    expected = 0.3 * 0.4 / 0.7 + 0.4 * 0.3 / 0.6
    assert counts[(2, 3)] / 3000 == pytest.approx(expected, abs=0.03)


def test_a_certain_candidate_still_has_a_partner():
    assert len(set(draw_gates(CHOICE, torch.tensor([1.0, 0.0, 0.0, 0.0])).held)) == 2


def test_the_gradient_of_the_logits_is_that_of_a_softmax_over_the_two():
    logits, of_gates = torch.tensor([0.3, -1.0, 0.7, 0.1]), torch.tensor([9.0, 2.0, 9.0, -1.0])
    two = logits[[1, 3]].clone().requires_grad_()
    (two.softmax(0) * of_gates[[1, 3]]).sum().backward()
    found = gate_gradient(CHOICE, logits, of_gates, (1, 3))
    assert torch.allclose(found[[1, 3]], two.grad)
    assert found[[0, 2]].tolist() == [0.0, 0.0]


def test_others_keep_their_probabilities():
    before = torch.tensor([0.3, -1.0, 0.7, 0.1])
    logits = before + torch.tensor([0.1, 0.5, 0.1, -0.2])
    keep_others(CHOICE, logits, before, (1, 3))
    assert torch.allclose(logits.softmax(0)[[0, 2]], before.softmax(0)[[0, 2]])
    assert logits[1] - logits[3] == pytest.approx(float(before[1] + 0.5 - before[3] + 0.2))


def test_the_better_of_two_becomes_likelier():
    @dataclass(frozen=True)
    class Two(ModelSpace):
        def build(self, pick):
            layer = pick.layer("op", {"dead": lambda: Times(0.0), "alive": lambda: Times(1.0)})
            return nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten())

    class Brightness(Noise):
        def loss(self, output, target):
            return (output.sum(1) - target).square().mean()

        def val_batches(self):
            return self.train_batches(0)

        def make_optimizer(self, parameters):
            return torch.optim.SGD(parameters, 0.0)

    evaluator = Brightness(batches=20)
    evaluator.batches = [(x, x.mean((2, 3)).sum(1)) for x, _ in evaluator.batches]
    result = Proxyless(arc_learning_rate=0.05).run(Two(), evaluator, device="cpu")
    assert result.arch == {"op": "alive"}
    assert result.history[-1]["probabilities"]["op"]["alive"] > 0.55


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor + 0 * self.unused


def test_several_inputs_are_refused_by_name():
    @dataclass(frozen=True)
    class Pairs(ModelSpace):
        def build(self, pick):
            return Sum(pick.edges("ins", 3, lambda i: nn.Conv2d(3, 10, 1), n_chosen=2))

    class Sum(nn.Module):
        def __init__(self, edges) -> None:
            super().__init__()
            self.edges = nn.ModuleList(layer for layer, _ in edges)

        def forward(self, x):
            return sum(layer(x) for layer in self.edges).mean((2, 3))

    with pytest.raises(SupernetError, match="'ins' chooses 2 of 3"):
        Proxyless().run(Pairs(), Noise(), device="cpu")
