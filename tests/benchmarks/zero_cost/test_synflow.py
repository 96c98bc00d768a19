"""synflow on networks of two layers, computed on paper."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hubserve.benchmarks.zero_cost import synflow
from hubserve.errors import UndefinedScoreError

BATCH = (torch.randn(2, 3), torch.zeros(2, dtype=torch.long))
FIRST = [[1.0, -2.0, 3.0], [0.0, -1.0, 1.0]]
"""The sums of absolute values are 6 and 2."""
SECOND = [[-2.0, 5.0]]
"""With them, R = 2 * 6 + 5 * 2 = 22, and each of both layers adds R to the flow."""


def two_layers(*between: nn.Module, bias: float | None = None) -> nn.Sequential:
    network = nn.Sequential(nn.Linear(3, 2, bias=bias is not None), *between, nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor(FIRST))
        network[-1].weight.copy_(torch.tensor(SECOND))
        if bias is not None:
            network[0].bias.fill_(bias)
    return network


def shared_activation() -> nn.Sequential:
    activation = nn.ReLU6()
    return two_layers(activation, activation)


@pytest.mark.parametrize(
    "network",
    [
        two_layers(),
        two_layers(nn.ReLU()),
        two_layers(nn.ReLU6(), nn.Hardswish(), nn.SiLU(), nn.GELU()),
        two_layers(nn.BatchNorm1d(2), nn.ReLU(inplace=True)),
        two_layers(nn.Dropout(0.5)),
        shared_activation(),
    ],
    ids=str,
)
def test_two_layers(network):
    assert synflow(network, BATCH) == pytest.approx(math.log(2 * 22))


def test_biases_feed_the_layers_after_them():
    # |-1| is added to 6 and 2: the second layer has 2 * 7 + 5 * 3 = 29, the first one still 22.
    assert synflow(two_layers(nn.ReLU(), bias=-1.0), BATCH) == pytest.approx(math.log(29 + 22))


def test_a_convolution():
    network = nn.Sequential(nn.Conv2d(1, 1, 2, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 1, bias=False))
    nn.init.constant_(network[0].weight, -0.5)
    nn.init.constant_(network[3].weight, 3.0)
    assert synflow(network, (torch.randn(2, 1, 4, 4), torch.zeros(2))) == pytest.approx(math.log(2 * 6))


def test_a_network_without_flow_has_the_lowest_score():
    network = two_layers()
    nn.init.zeros_(network[-1].weight)
    assert synflow(network, BATCH) == pytest.approx(math.log(torch.finfo(torch.float64).tiny))


@pytest.mark.parametrize(
    ("layer", "name"), [(nn.LayerNorm(2), "layer norm"), (nn.GroupNorm(1, 2), "group norm"), (nn.Softmax(1), "softmax")]
)
def test_what_normalises_its_input_is_refused(layer, name):
    with pytest.raises(UndefinedScoreError, match=f"synflow is not defined for Sequential, which has {name}. snip and jacov"):
        synflow(two_layers(layer), BATCH)


def test_attention_is_refused():
    layer = nn.TransformerEncoderLayer(4, 1, 8, batch_first=True)
    with pytest.raises(UndefinedScoreError, match="synflow is not defined for TransformerEncoderLayer, which has "):
        synflow(layer, (torch.randn(2, 3, 4), torch.zeros(2)))
