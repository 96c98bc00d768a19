"""Operations of the NASNet family: shapes on odd and even sizes, their parts, and what they compute."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from hubserve.blocks import OPERATIONS, FactorizedReduce, relu_conv_bn
from hubserve.errors import SpaceError

POOLS = [name for name in OPERATIONS if "pool" in name]


def params_by_name(name: str, c: int) -> int:
    """Weights of an operation, from its name alone, at stride 1."""
    kernels = [int(k) for k in re.findall(r"(?<=_)(\d+)x", name)]
    if name.startswith(("sep", "dil_sep")):
        return 2 * (c * kernels[0] ** 2 + c * c + 2 * c)
    if name.startswith("dil"):
        return c * kernels[0] ** 2 + c * c + 2 * c
    if re.fullmatch(r"conv_\dx1_1x\d", name):
        return 2 * c * c * kernels[0] + 2 * c
    return c * c * kernels[0] ** 2 + 2 * c if name.startswith("conv") else 0


@pytest.mark.parametrize("name", OPERATIONS)
class TestEveryOperation:
    @pytest.mark.parametrize("size", [(8, 8), (7, 7), (9, 6), (1, 1)])
    @pytest.mark.parametrize("stride", [1, 2])
    def test_shape(self, name, stride, size):
        rows, columns = (-(-side // stride) for side in size)
        assert OPERATIONS[name](6, stride)(torch.randn(2, 6, *size)).shape == (2, 6, rows, columns)

    def test_weights(self, name):
        assert sum(p.numel() for p in OPERATIONS[name](6, 1).parameters()) == params_by_name(name, 6)

    def test_leaves_its_input_alone(self, name):
        x = torch.randn(2, 6, 5, 5)
        before = x.clone()
        OPERATIONS[name](6, 2)(x)
        assert torch.equal(x, before)

    def test_reaches_as_far_as_its_name_says(self, name):
        """Which inputs the middle output depends on."""
        if name == "skip_connect":
            return
        kernel = max(int(k) for k in re.findall(r"\d+", name))
        times, dilation = (2 if "sep" in name else 1), (2 if "dil" in name else 1)
        reach = times * dilation * (kernel // 2)
        x = torch.randn(1, 2, 25, 25, dtype=torch.float64).abs().requires_grad_()
        operation = OPERATIONS[name](2, 1).double().eval()
        if "max" in name:
            with torch.no_grad():
                # The largest value at the far corner of what the window should see, and larger ones just outside.
                x[:, :, 12 + reach, 12 + reach] = 100.0
                x[:, :, 12 + reach + 1, :] = 200.0
            assert operation(x)[0, :, 12, 12].tolist() == [100.0, 100.0]
            return
        for parameter in operation.parameters():
            nn.init.uniform_(parameter, 0.1, 1.0)  # All positive, so that no ReLU cuts anything off.
        operation(x)[0, :, 12, 12].sum().backward()
        rows, columns = (x.grad[0, 0] != 0).nonzero().T
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (12 - reach, 12 + reach, 12 - reach, 12 + reach)


class TestFactorizedReduce:
    @pytest.mark.parametrize("size", [(8, 8), (7, 7), (5, 8)])
    @pytest.mark.parametrize("c_out", [4, 5])
    def test_by_hand(self, size, c_out):
        layer = FactorizedReduce(3, c_out).eval()
        nn.init.normal_(layer.bn.bias)
        x = torch.randn(2, 3, *size)
        active = x.relu()
        even = torch.einsum("oi,bihw->bohw", layer.conv_1.weight[:, :, 0, 0], active[:, :, ::2, ::2])
        odd = torch.zeros(2, 3, *even.shape[2:])
        shifted = active[:, :, 1::2, 1::2]
        odd[:, :, : shifted.shape[2], : shifted.shape[3]] = shifted
        odd = torch.einsum("oi,bihw->bohw", layer.conv_2.weight[:, :, 0, 0], odd)
        expected = torch.cat([even, odd], 1) / (1 + 1e-5) ** 0.5 + layer.bn.bias[:, None, None]
        torch.testing.assert_close(layer(x), expected)
        assert [conv.out_channels for conv in (layer.conv_1, layer.conv_2)] == [c_out // 2, c_out - c_out // 2]

    def test_script(self):
        layer, x = FactorizedReduce(3, 4).eval(), torch.randn(2, 3, 7, 7)
        torch.testing.assert_close(torch.jit.script(layer)(x), layer(x))

    def test_two_halves(self):
        with pytest.raises(SpaceError, match="c_out = 1 must be at least 2"):
            FactorizedReduce(4, 1)


class TestPools:
    @pytest.mark.parametrize("name", POOLS)
    def test_padding_is_not_seen(self, name):
        """Neither zeros in a mean, nor zeros above negative numbers."""
        x = torch.full((1, 2, 5, 5), -3.0)
        torch.testing.assert_close(OPERATIONS[name](2, 1)(x), x)

    def test_mean(self):
        x = torch.randn(1, 2, 5, 5)
        torch.testing.assert_close(OPERATIONS["avg_pool_3x3"](2, 2)(x)[:, :, 1, 1], x[:, :, 1:4, 1:4].mean((2, 3)))

    def test_largest(self):
        x = torch.randn(1, 2, 9, 9)
        torch.testing.assert_close(OPERATIONS["max_pool_7x7"](2, 1)(x)[:, :, 4, 4], x[:, :, 1:8, 1:8].amax((2, 3)))


def test_skip():
    assert isinstance(OPERATIONS["skip_connect"](4, 1), nn.Identity)
    assert isinstance(OPERATIONS["skip_connect"](4, 2), FactorizedReduce)


def test_only_the_first_convolution_of_a_pair_strides():
    convs = [m for m in OPERATIONS["sep_conv_5x5"](4, 2) if isinstance(m, nn.Conv2d)]
    assert [conv.stride for conv in convs] == [(2, 2), (1, 1), (1, 1), (1, 1)]
    row, column = (m for m in OPERATIONS["conv_7x1_1x7"](4, 2) if isinstance(m, nn.Conv2d))
    assert (row.kernel_size, row.stride, column.kernel_size, column.stride) == ((1, 7), (1, 2), (7, 1), (2, 1))


def test_relu_conv_bn_changes_the_width():
    layer = relu_conv_bn(3, 5, 3, stride=2).eval()
    x = torch.randn(2, 3, 7, 7)
    expected = functional.conv2d(x.relu(), layer[1].weight, stride=2, padding=1) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(layer(x), expected)
