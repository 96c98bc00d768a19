"""What autograd keeps, counted on the meta device."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hubserve.supernet.memory_estimates import activation_bytes


def kept(network: nn.Module, *shape: int, dtype: torch.dtype = torch.float32) -> int:
    network.to("meta")
    return activation_bytes(network, torch.empty(shape, dtype=dtype), network)


@pytest.mark.parametrize("batch", [1, 4])
def test_of_linear_layers_the_inputs_and_no_weights(batch):
    """The transposes of the weights that autograd keeps are views of parameters."""
    network = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 3))
    assert kept(network, batch, 10) == 4 * batch * (10 + 20)


def test_of_a_convolution_its_input():
    assert kept(nn.Conv2d(3, 8, 3), 2, 3, 16, 16) == 4 * 2 * 3 * 16 * 16


def test_bytes_are_those_of_the_type():
    network = nn.Sequential(nn.Linear(10, 20), nn.Linear(20, 3))
    assert kept(network, 4, 10, dtype=torch.float64) == 8 * 4 * (10 + 20)
