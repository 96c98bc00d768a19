"""Steps on windows are the steps of a bare network."""

from __future__ import annotations

from random import Random

import pytest
import torch

from hubserve.supernet import SharedOptimizer, Supernet
from hubserve.supernet.shared_tensors import window
from tests.supernet.spaces import Small, images

MAKERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05),
    "momentum": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 0.01),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.01),
}
NARROW = {"width": 16, "depth": 1, "op_0": "conv", "ks_0": 3}
WIDE = {"width": 64, "depth": 1, "op_0": "conv", "ks_0": 5}


def step(network, optimizer, seed, leaves=None):
    network(images(4, seed=seed)).square().sum().backward()
    optimizer.step() if leaves is None else optimizer.step(leaves)


@pytest.mark.parametrize("name", MAKERS)
def test_training_one_subnet_is_training_the_bare_network(name):
    net = Supernet(Small())
    bare = net.extract(NARROW).train()
    alone, shared = MAKERS[name](bare.parameters()), SharedOptimizer(net.tensors, MAKERS[name](net.parameters()))
    for seed in range(4):
        alone.zero_grad()
        step(bare, alone, seed)
        subnet = net.subnet(NARROW)
        step(subnet.network, shared, seed, subnet.leaves)
    for key, tensor in net.extract(NARROW).state_dict().items():
        assert torch.allclose(tensor, bare.state_dict()[key], rtol=1e-4, atol=1e-6), key


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_not_seen_stays(name):
    net = Supernet(Small())
    optimizer = SharedOptimizer(net.tensors, MAKERS[name](net.parameters()))
    for arch in (WIDE, NARROW):
        before = {key: p.detach().clone() for key, p in net.tensors.named_parameters()}
        subnet = net.subnet(arch)
        step(subnet.network, optimizer, 0, subnet.leaves)
    seen = {tensor.key: tensor for tensor in net.subnet(NARROW).tensors}
    for key, now in net.tensors.named_parameters():
        changed = now.detach() != before[key]
        inside = torch.zeros_like(changed)
        if key in seen:
            window(inside, seen[key].shape, centred=seen[key].centred).fill_(True)
        assert not (changed & ~inside).any(), key
    assert all(leaf.grad is None for leaf in net.subnet(NARROW).leaves.values())


def test_goes_on_from_a_dump():
    ends = []
    for interrupted in (False, True):
        net, rng = Supernet(Small()), Random(1)
        optimizer = SharedOptimizer(net.tensors, MAKERS["adam"](net.parameters()))
        for seed in range(6):
            if interrupted and seed == 3:
                # Through a file in real life; values must not be shared.
                weights, state = (_copied(part) for part in (net.state_dict(), optimizer.state_dict()))
                net = Supernet(Small(), seed=5)
                net.load_state_dict(weights)
                optimizer = SharedOptimizer(net.tensors, MAKERS["adam"](net.parameters()))
                optimizer.load_state_dict(state)
            subnet = net.subnet(Small().random(rng))
            step(subnet.network, optimizer, seed, subnet.leaves)
        ends.append(net.state_dict())
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


def test_groups_keep_their_settings():
    net = Supernet(Small())
    parameters = dict(net.tensors.named_parameters())
    biases = [p for key, p in parameters.items() if key.endswith("bias")]
    others = [p for key, p in parameters.items() if not key.endswith("bias")]
    optimizer = SharedOptimizer(net.tensors, torch.optim.SGD([{"params": biases, "lr": 0.0}, {"params": others}], lr=0.1))
    before = {key: p.detach().clone() for key, p in parameters.items()}
    subnet = net.subnet(WIDE)
    step(subnet.network, optimizer, 0, subnet.leaves)
    for key in subnet.leaves:
        assert torch.equal(parameters[key], before[key]) == key.endswith("bias")
    assert [len(group["params"]) for group in optimizer.optimizer.param_groups] == [len(biases), len(others)]


def _copied(value):
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value
