"""The cells of NAS-Bench-201 by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from hubserve.blocks import NasBench201Cell, ReductionBlock
from hubserve.blocks.nasbench201 import NASBENCH201_OPERATIONS, ReluConvBn, Zero
from hubserve.errors import SpaceError

X = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x


def test_a_vertex_sums_its_edges():
    cell = NasBench201Cell([[Times(2)], [Times(3), Times(5)], [Times(7), Times(11), Times(13)]])
    first = 2
    second = 3 + 5 * first
    torch.testing.assert_close(cell(X), (7 + 11 * first + 13 * second) * X)


class TestOperations:
    @pytest.mark.parametrize("name", NASBENCH201_OPERATIONS)
    def test_keep_the_shape_and_the_input(self, name):
        before = X.clone()
        assert NASBENCH201_OPERATIONS[name](4)(X).shape == X.shape
        assert torch.equal(X, before)  # Other edges read it too.

    def test_none_and_skip(self):
        assert not Zero()(X).any()
        assert NASBENCH201_OPERATIONS["skip_connect"](4)(X) is X

    def test_the_mean_does_not_see_the_padding(self):
        pool = NASBENCH201_OPERATIONS["avg_pool_3x3"](4)
        torch.testing.assert_close(pool(torch.ones(1, 4, 5, 5)), torch.ones(1, 4, 5, 5))
        torch.testing.assert_close(pool(X)[:, :, 0, 0], X[:, :, :2, :2].mean((2, 3)))

    @pytest.mark.parametrize(("name", "kernel"), [("conv_1x1", 1), ("conv_3x3", 3)])
    def test_convolutions(self, name, kernel):
        layer = NASBENCH201_OPERATIONS[name](4).eval()
        _, conv, norm = layer.op
        nn.init.normal_(norm.bias)
        expected = functional.conv2d(X.relu(), conv.weight, padding=kernel // 2) / (1 + 1e-5) ** 0.5
        torch.testing.assert_close(layer(X), expected + norm.bias[:, None, None])
        assert conv.weight.abs().max() <= (4 * kernel**2) ** -0.5


class TestReductionBlock:
    def test_halves(self):
        block = ReductionBlock(4, 8).eval()
        found = block(X)
        assert found.shape == (2, 8, 3, 3)
        shortcut = functional.conv2d(functional.avg_pool2d(X, 2), block.downsample[1].weight)
        torch.testing.assert_close(found, shortcut + block.conv_b(block.conv_a(X)))

    def test_only_the_first_convolution_strides(self):
        block = ReductionBlock(4, 8)
        assert [layer.op[1].stride for layer in (block.conv_a, block.conv_b)] == [(2, 2), (1, 1)]


def test_a_strided_convolution_rounds_up():
    assert ReluConvBn(4, 8, 3, stride=2)(torch.zeros(2, 4, 7, 8)).shape == (2, 8, 4, 4)


@pytest.mark.parametrize("edges", [[], [[]], [[Times(1)], [Times(1)]], [[Times(1), Times(1)]]])
def test_a_vertex_needs_an_edge_from_each_before_it(edges):
    with pytest.raises(SpaceError, match=r"need 1, 2, \.\.\. edges"):
        NasBench201Cell(edges)
