"""Parameters and MACs, against torchvision's published figures and sums done by hand."""

from __future__ import annotations

import warnings

import pytest
import torch
import torchvision
from torch import nn

from hubserve.complexity import UncountedOperationWarning, complexity


@pytest.mark.parametrize(
    ("name", "params", "gmacs"),
    # torchvision's documentation states params and "GFLOPS", which are multiply-accumulates, to two decimals.
    [("resnet18", 11_689_512, 1.81), ("mobilenet_v3_small", 2_542_856, 0.06), ("shufflenet_v2_x1_0", 2_278_604, 0.14)],
)
def test_published_figures(name, params, gmacs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = complexity(getattr(torchvision.models, name)(), (3, 224, 224))
    assert found.params == params
    assert round(found.macs / 1e9, 2) == gmacs


def test_by_hand():
    model = nn.Sequential(
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5)
    )
    found = complexity(model, (4, 8, 8))
    assert found.conv_macs == 4 * 4 * 6 * (4 // 2) * 9
    assert found.linear_macs == 96 * 5
    assert found.params == 6 * 2 * 9 + 6 + 12 + 96 * 5 + 5


def test_transposed_convolution():
    assert complexity(nn.ConvTranspose2d(3, 7, 2, stride=2), (3, 5, 5)).conv_macs == 5 * 5 * 3 * 7 * 4


def test_attention_is_kept_apart():
    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = x.flatten(2).transpose(1, 2)
            return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)

    found = complexity(Attention(), (8, 4, 4))
    assert found.macs == 0
    assert found.attention_macs == 2 * 16 * 16 * 8


def test_an_unknown_operation_is_named_not_zero():
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.rfft2(x).real

    with pytest.warns(UncountedOperationWarning, match="_fft_r2c"):
        found = complexity(Odd(), (1, 8, 8))
    assert list(found.uncounted) == ["aten._fft_r2c"]


def test_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Dropout())
    complexity(model, (3, 4, 4))
    assert model.training
    assert model[0].weight.device.type == "cpu"
