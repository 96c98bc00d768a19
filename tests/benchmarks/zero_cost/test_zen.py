"""zen on a network of one convolution."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hubserve.benchmarks.zero_cost import zen
from hubserve.benchmarks.zero_cost.zen import log_scale
from hubserve.errors import UndefinedScoreError

BATCH = (torch.zeros(4, 1, 64, 64), torch.zeros(4))


def one_convolution(*, norm: bool = True) -> nn.Sequential:
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    return nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1) if norm else nn.Identity(), *head)


def test_one_convolution():
    """The batch norm divides by about |w|, which the score adds again: what is left is the length of the change times |w|."""
    torch.manual_seed(3)
    weight = float(torch.empty(1, 1, 1, 1).normal_())
    # 64 x 64 values with a standard deviation of a hundredth have a length of 0.64.
    assert zen(one_convolution(), BATCH, seed=3) == pytest.approx(math.log(0.64 * abs(weight)), abs=0.02)


def test_the_weights_of_the_network_and_the_images_do_not_matter():
    network = one_convolution()
    nn.init.constant_(network[0].weight, 100.0)
    other = one_convolution()
    assert zen(network, BATCH, seed=1) == zen(other, (torch.ones(4, 1, 64, 64), BATCH[1]), seed=1)
    assert zen(network, BATCH, seed=1) != zen(network, BATCH, seed=2)


def test_the_standard_deviation_of_a_batch_norm():
    given = torch.tensor([[[[1.0, 3.0]], [[0.0, 0.0]]], [[[1.0, 3.0]], [[8.0, 0.0]]]])
    # The variances of the channels are 1 and 12.
    assert log_scale(nn.BatchNorm2d(2, eps=0.5), given).item() == pytest.approx(0.5 * math.log(6.5 + 0.5))


def test_constant_features_have_a_low_score_that_is_finite():
    class Zeros(nn.Module):
        def forward(self, x):
            return torch.zeros_like(x)

    network = nn.Sequential(Zeros(), *one_convolution())
    scale = 0.5 * math.log(1e-5)
    assert zen(network, BATCH) == pytest.approx(math.log(torch.finfo(torch.float32).tiny) + scale)


def test_what_is_refused():
    with pytest.raises(UndefinedScoreError, match="zen is not defined for Sequential: it has no batch norm"):
        zen(one_convolution(norm=False), BATCH)
    with pytest.raises(UndefinedScoreError, match="zen is not defined for Sequential: it has no global average pooling"):
        zen(nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64 * 64, 2)), BATCH)
