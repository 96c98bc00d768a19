"""Operations of a forward pass: by hand, as text and back, and their MACs against torch's own counter."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hubserve.hub import SPACES, get_space
from hubserve.operations import arch_operations, parse_key, trace_operations
from hubserve.space import ModelSpace
from tests.marks import slow_but


@dataclass(frozen=True)
class Tiny(ModelSpace):
    """Two convolutions, a pool that may be there, and a linear layer."""

    def build(self, pick):
        width = pick("width", (8, 16, 24))
        stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        pool = pick.layer("pool", {"none": nn.Identity, "max": lambda: nn.MaxPool2d(2)})
        conv = nn.Conv2d(width, width, 3, padding="same")
        return nn.Sequential(stem, conv, pool, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5))


def traced(model: nn.Module, *shape: int):
    return trace_operations(model.to("meta").eval(), (1, *shape))


def test_a_network_known_by_hand():
    operations = arch_operations(Tiny(), {"width": 16, "pool": "max"}, (1, 3, 16, 16))
    assert [operation.key for operation in operations] == [
        "conv 1x3x16x16 -> 1x16x16x16 kernel=3x3 stride=1x1 padding=1x1 dilation=1x1 groups=1",
        "conv 1x16x16x16 -> 1x16x16x16 kernel=3x3 stride=1x1 padding=1x1 dilation=1x1 groups=1",
        "max_pool 1x16x16x16 -> 1x16x8x8 kernel=2x2 stride=2x2 padding=0x0",
        "mean 1x16x8x8 -> 1x16x1x1",
        "linear 1x16 -> 1x5",
    ]
    first, *_, last = operations
    assert (first.macs, first.weights, first.elements) == (16 * 16 * 16 * 27, 432, 768 + 4096 + 432)
    assert (last.macs, last.weights) == (80, 80)


@pytest.mark.parametrize("name", slow_but(SPACES, {"NasBench201", "ProxylessNAS", "AutoFormer", "NASBERT", "LightSpeech"}))
def test_macs_are_those_of_torch(name):
    space = get_space(name)
    small = space.takes_images and name != "AutoFormer"
    inputs = [torch.empty(1, 3, 64, 64, device="meta")] if small else space.cost_inputs()
    arch = space.random(Random(1))
    operations = arch_operations(space, arch, inputs)
    with torch.device("meta"):
        model = space.freeze(arch).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*inputs)
    assert sum(operation.macs for operation in operations) * 2 == counter.get_total_flops()
    assert not [operation.kind for operation in operations if operation.kind.startswith("unknown:")]
    assert all(parse_key(operation.key) == operation for operation in operations)


@pytest.mark.parametrize(
    ("model", "shape", "macs"),
    [
        (nn.Conv1d(4, 6, 3, groups=2), (4, 10), 8 * 6 * 2 * 3),
        (nn.Conv3d(2, 3, 2), (2, 4, 4, 4), 27 * 3 * 2 * 8),
        (nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2), (4, 5, 5), 25 * 4 * 3 * 4),
    ],
    ids=["one dimension", "three dimensions", "transposed"],
)
def test_other_convolutions(model, shape, macs):
    (operation,) = traced(model, *shape)
    assert operation.macs == macs
    assert operation.weights == model.weight.numel()
    assert parse_key(operation.key) == operation


def test_products_of_activations():
    class Products(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = x.flatten(2).transpose(1, 2)
            bias = x.new_zeros(())
            return torch.baddbmm(bias, tokens, tokens.transpose(1, 2)) @ tokens

    found = [operation for operation in traced(Products(), 8, 4, 4) if operation.kind == "matmul"]
    assert [operation.macs for operation in found] == [16 * 16 * 8, 16 * 8 * 16]


def test_what_is_not_known_is_named():
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.rfft2(x).real.exp()

    assert [operation.kind for operation in traced(Odd(), 1, 8, 8)] == ["unknown:aten._fft_r2c", "other:exp"]
