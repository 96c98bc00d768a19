"""Every space shares its weights: a network on windows of the supernet is the network that is cut out of it."""

from __future__ import annotations

from random import Random

import pytest
import torch

from hubserve.errors import ArchError
from hubserve.hub import SPACES, get_space
from hubserve.supernet import SharedOptimizer, Supernet
from hubserve.supernet.tensors import window

SHORT = {"width": (8, 16), "num_cells": (3, 4)}
SMALL = dict.fromkeys(("NASNet", "ENAS", "AmoebaNet", "PNAS", "DARTS"), SHORT) | {
    "AutoFormer": {
        "search_embed_dim": (48, 64),
        "search_num_heads": (1, 2),
        "search_depth": (2, 3),
        "img_size": 32,
        "patch_size": 8,
        "num_labels": 10,
    },
    "NasBench101": {"stem_out_channels": 16, "num_modules_per_stack": 1},
    "NasBench201": {"stem_out_channels": 8, "num_modules_per_stack": 1},
    "ShuffleNetSpace": {"num_labels": 10, "channel_search": True},
    "ProxylessNAS": {"num_labels": 10},
    "MobileNetV3Space": {"num_labels": 10},
}


@pytest.fixture(scope="module", params=SPACES)
def supernet(request) -> Supernet:
    return Supernet(get_space(request.param, SMALL.get(request.param)))


def pictures(n: int = 2) -> torch.Tensor:
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_what_is_cut_out_answers_alike(supernet):
    supernet.eval()
    rng = Random(1)
    for _ in range(2):
        arch = supernet.space.random(rng)
        cut = supernet.extract(arch)
        assert list(cut.state_dict()) == list(supernet.space.freeze(arch).state_dict())
        with torch.no_grad():
            torch.testing.assert_close(supernet(pictures(), arch), cut(pictures()))
            torch.testing.assert_close(supernet.subnet(arch).network(pictures()), cut(pictures()))


def test_a_step_moves_the_window_and_nothing_else(supernet):
    supernet.train()
    arch = supernet.space.random(Random(2))
    before = {key: supernet.tensors[key].detach().clone() for key, _ in supernet.tensors.named_parameters()}
    subnet = supernet.subnet(arch)
    optimizer = SharedOptimizer(supernet.tensors, torch.optim.SGD(supernet.tensors.parameters(), lr=0.1, momentum=0.9))
    output = subnet.network(pictures(4))
    (output[0] if isinstance(output, tuple) else output).square().mean().backward()
    optimizer.step(subnet.leaves)
    windows = {slot.key: slot for slot in subnet.slots if not slot.is_buffer}
    moved = 0
    for key, old in before.items():
        new = supernet.tensors[key].detach()
        if key in windows:
            moved += not torch.equal(old, new)
            inside = torch.zeros_like(old, dtype=torch.bool)
            window(inside, windows[key].shape, centred=windows[key].centred).fill_(True)
            old, new = old[~inside], new[~inside]
        assert torch.equal(old, new), key
    assert moved > 0


def test_an_arch_of_another_space(supernet):
    with pytest.raises(ArchError):
        supernet(pictures(), {})
