"""Gradients of a step by the sandwich rule are the sums of those of its networks."""

from __future__ import annotations

from random import Random

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from hubserve.supernet import Supernet
from hubserve.supernet.extreme_archs import largest_arch, smallest_arch
from hubserve.supernet.sandwich import Sandwich, without_dropping
from hubserve.training.soft_labels import soft_cross_entropy
from tests.supernet.spaces import TINY, Small, images


def gradients(supernet: Supernet, archs: list, x: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
    """The mean over the networks, each run on its own: the first learns the targets, the others what the first one says."""
    supernet.train()
    first = supernet(x, archs[0])
    losses = [nn.functional.cross_entropy(first, target)]
    losses += [soft_cross_entropy(supernet(x, arch), first) for arch in archs[1:]]
    supernet.zero_grad()
    (sum(losses) / len(losses)).backward()
    return {key: parameter.grad for key, parameter in supernet.tensors.named_parameters() if parameter.grad is not None}


def test_a_step_has_the_gradients_of_its_networks_run_one_by_one():
    space, x, target = Small(), images(6), torch.arange(6)
    largest, smallest, drawn = largest_arch(space), smallest_arch(space), space.random(Random(3))
    supernet = Supernet(space)
    sandwich = Sandwich(supernet, largest, smallest, 1, lambda rng: drawn)
    loss = sandwich.add_gradients(
        x,
        (lambda output: nn.functional.cross_entropy(output, target), soft_cross_entropy),
        Random(0),
        backward=lambda loss: loss.backward(),
        autocast=lambda: torch.autocast("cpu", enabled=False),
    )
    found = {k: p.grad.clone() for k, p in supernet.tensors.named_parameters() if p.grad is not None}
    expected = gradients(Supernet(space), [largest, smallest, drawn], x, target)
    assert loss > 0
    assert found.keys() == expected.keys()
    for key, gradient in found.items():
        torch.testing.assert_close(gradient, expected[key], rtol=1e-4, atol=1e-6)


def test_the_running_statistics_are_those_of_the_largest_network_run_alone():
    space, x = TINY["NasBench201"], images(6)
    largest = largest_arch(space)
    supernet, alone = Supernet(space), Supernet(space).train()
    sandwich = Sandwich(supernet, largest, smallest_arch(space), 1, space.random)
    sandwich.add_gradients(
        x,
        (torch.sum, lambda output, teacher: output.sum()),
        Random(0),
        backward=lambda loss: loss.backward(),
        autocast=lambda: torch.autocast("cpu", enabled=False),
    )
    alone.subnet(largest).network(x)
    norms = [name for name, _ in alone.tensors.named_buffers() if name.endswith(("running_mean", "running_var"))]
    assert norms
    assert all(torch.equal(supernet.tensors[name], alone.tensors[name]) for name in norms)


@pytest.mark.parametrize("name", ["AutoFormer", "DARTS", "MobileNetV3Space"])
def test_smaller_networks_drop_nothing(name):
    space = TINY[name]
    network = space.freeze(space.random(Random(0))).train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5
        if hasattr(module, "drop_path_prob"):
            module.drop_path_prob = 0.5
        if isinstance(module, _BatchNorm):
            module.momentum = 0.0
    x = images(4)
    assert not torch.equal(network(x), network(x))
    with without_dropping(network):
        assert torch.equal(network(x), network(x))
    assert not torch.equal(network(x), network(x))
