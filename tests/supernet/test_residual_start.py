"""Residual blocks begin as the identity."""

from __future__ import annotations

from random import Random

import pytest
import torch

from hubserve.blocks.mobile import MobileBlock
from hubserve.supernet import Supernet
from hubserve.supernet.residual_start import start_residuals_at_zero
from tests.supernet.spaces import TINY


@pytest.mark.parametrize("name", ["MobileNetV3Space", "ProxylessNAS"])
def test_every_residual_block_passes_on_its_input(name):
    space = TINY[name]
    supernet = Supernet(space)
    assert start_residuals_at_zero(supernet) > 0
    rng, blocks = Random(0), 0
    for _ in range(5):
        for block in supernet.extract(space.random(rng)).modules():
            if isinstance(block, MobileBlock) and block.residual:
                blocks += 1
                channels = next(block.parameters()).shape[1]
                x = torch.randn(2, channels, 4, 4)
                assert torch.equal(block(x), x)
    assert blocks


def test_networks_without_residual_blocks_stay_as_they_are():
    space = TINY["NasBench201"]
    supernet, before = Supernet(space), Supernet(space).state_dict()
    assert start_residuals_at_zero(supernet) == 0
    assert all(torch.equal(tensor, before[key]) for key, tensor in supernet.state_dict().items())
