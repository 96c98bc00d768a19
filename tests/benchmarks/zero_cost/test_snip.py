"""snip on a network of two layers, computed on paper."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hubserve.benchmarks.zero_cost import snip
from hubserve.errors import EvaluatorError, UndefinedScoreError


def two_layers() -> nn.Sequential:
    """For an image of 1: hidden (2, 0), logits (2, -2), so the probability of class 1 is 1 / (1 + e^4)."""
    network = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=True))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[2.0], [-1.0]]))
        network[2].weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        network[2].bias.zero_()
    return network


def test_two_layers():
    p = 1 / (1 + math.exp(4))
    # The gradient of the logits is (-p, p): of the second layer's weights (-2p, 2p), of the first hidden unit -2p. Weight by
    # gradient: |1 * -2p| + |-1 * 2p| + |2 * -2p| = 8p. Biases do not count.
    batch = torch.ones(2, 1), torch.zeros(2, dtype=torch.long)
    assert snip(two_layers(), batch) == pytest.approx(8 * p)


def test_the_loss_is_the_mean_of_the_batch():
    p = 1 / (1 + math.exp(4))
    # With class 1, the gradient of the logits is (1 - p, p - 1); the mean of both is (1/2 - p, p - 1/2).
    batch = torch.ones(2, 1), torch.tensor([0, 1])
    assert snip(two_layers(), batch) == pytest.approx(8 * (0.5 - p))


def test_targets_that_the_network_has_not():
    with pytest.raises(EvaluatorError, match=r"logits \(2, 2\), and the targets of the batch are from 0 to 2"):
        snip(two_layers(), (torch.ones(2, 1), torch.tensor([0, 2])))


def test_networks_without_weights_are_refused():
    with pytest.raises(UndefinedScoreError, match=r"snip is not defined for ReLU.*params and macs"):
        snip(nn.ReLU(), (torch.ones(2, 1), torch.tensor([0, 0])))


def test_values_that_overflow_are_an_error():
    network = two_layers()
    nn.init.constant_(network[0].weight, 1e38)
    nn.init.constant_(network[2].weight, 1e38)
    with pytest.raises(EvaluatorError, match="the snip of Sequential is nan: a value in the network overflows"):
        snip(network, (torch.ones(2, 1), torch.tensor([0, 0])))
