"""Blocks of mobile networks: widths, names, skips, gates and first weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hubserve.blocks.conv import ConvStyle
from hubserve.blocks.fast_layers import bare
from hubserve.blocks.mobile import (
    MobileBlock,
    SqueezeExcite,
    depthwise_separable,
    init_mobile_weights,
    inverted_residual,
    make_divisible,
)

STYLE = ConvStyle()


class TestMakeDivisible:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [(0.5, 8), (8, 8), (8.8, 8), (9, 16), (11, 16), (12, 16), (18, 24), (20, 24), (35, 32), (36, 40), (87, 88)],
    )
    def test_values(self, value, expected):
        assert make_divisible(value) == expected

    def test_another_divisor(self):
        assert make_divisible(10, 4) == 12

    @given(st.floats(min_value=0.1, max_value=10_000))
    def test_is_a_multiple_near_the_value(self, value):
        found = make_divisible(value)
        assert found % 8 == 0
        # One divisor more than the value is reached only where less than 90 % of it would have been left.
        assert 0.9 * value <= found < value + 8


class TestSqueezeExcite:
    @pytest.mark.parametrize(("bias", "gate"), [(-3.0, 0.0), (0.0, 0.5), (1.5, 0.75), (3.0, 1.0)])
    def test_the_gate_scales_channels(self, bias, gate):
        attention = SqueezeExcite(4, 2)
        for parameter in attention.parameters():
            nn.init.zeros_(parameter)
        nn.init.constant_(attention.conv_expand.bias, bias)
        x = torch.randn(2, 4, 3, 5)
        torch.testing.assert_close(attention(x), x * gate)

    def test_the_gate_sees_means_only(self):
        attention = SqueezeExcite(4, 2)
        for parameter in attention.parameters():
            nn.init.uniform_(parameter, 0.1, 0.3)
        x = torch.rand(1, 4, 2, 3) + 0.1
        means = x.mean((2, 3), keepdim=True).expand_as(x)
        torch.testing.assert_close(attention(x) / x, attention(means) / means)


class TestBlocks:
    @pytest.mark.parametrize("residual", [True, False])
    def test_skip(self, residual):
        block = inverted_residual(4, 8, 4, 3, style=STYLE, activation=nn.ReLU, residual=residual)
        init_mobile_weights(block)
        nn.init.zeros_(block[-1].weight)
        x = torch.randn(2, 4, 5, 5)
        torch.testing.assert_close(block(x), x if residual else torch.zeros_like(x))

    @pytest.mark.parametrize("residual", [True, False])
    def test_script_keeps_the_skip(self, residual):
        block = inverted_residual(4, 8, 4, 3, style=STYLE, activation=nn.ReLU, squeeze=8, residual=residual).eval()
        init_mobile_weights(block)
        x = torch.randn(2, 4, 5, 5)
        torch.testing.assert_close(torch.jit.script(block)(x), block(x))

    def test_an_inverted_residual_in_order(self):
        block = inverted_residual(4, 24, 8, 5, style=STYLE, activation=nn.ReLU6, stride=2, squeeze=8)
        assert shapes(block) == {"0": (24, 4, 1, 1), "3": (24, 1, 5, 5), "7": (8, 24, 1, 1)}
        assert isinstance(block[6], SqueezeExcite)
        kinds = [type(layer) for layer in block]
        assert kinds[:3] == kinds[3:6] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU6]
        assert kinds[7:] == [nn.Conv2d, nn.BatchNorm2d]

    def test_numbers_close_up_without_squeeze_and_excite(self):
        assert list(shapes(inverted_residual(4, 24, 8, 3, style=STYLE, activation=nn.ReLU6))) == ["0", "3", "6"]
        assert list(shapes(depthwise_separable(4, 8, 3, style=STYLE, activation=nn.ReLU6))) == ["0", "3"]
        assert list(shapes(depthwise_separable(4, 8, 3, style=STYLE, activation=nn.ReLU6, squeeze=8))) == ["0", "4"]

    def test_the_first_convolution_stays_at_expansion_1(self):
        block = inverted_residual(8, 8, 8, 3, style=STYLE, activation=nn.ReLU)
        assert shapes(block)["0"] == (8, 8, 1, 1)

    @pytest.mark.parametrize("padding", ["symmetric", "same"])
    @pytest.mark.parametrize(("stride", "size", "expected"), [(1, 7, 7), (2, 7, 4), (2, 8, 4)])
    def test_stride(self, padding, stride, size, expected):
        block = depthwise_separable(4, 8, 5, style=ConvStyle(padding=padding), activation=nn.ReLU, stride=stride)
        init_mobile_weights(block)
        assert block(torch.zeros(2, 4, size, size)).shape == (2, 8, expected, expected)

    def test_activations_are_made_anew(self):
        block = inverted_residual(4, 8, 8, 3, style=STYLE, activation=nn.ReLU)
        assert block[2] is not block[5]


class TestFirstWeights:
    @pytest.fixture
    def net(self):
        style = ConvStyle(padding="same")
        blocks = [
            inverted_residual(64, 256, 64, 3, style=style, activation=nn.ReLU, stride=2, squeeze=64),
            depthwise_separable(64, 256, 5, style=style, activation=nn.ReLU),
        ]
        return nn.Sequential(*blocks, bare(nn.Linear, 256, 100))

    @pytest.fixture
    def fresh_memory_is_nan(self):
        """What torch hands out uninitialised is NaN."""
        torch.use_deterministic_algorithms(True)
        yield
        torch.use_deterministic_algorithms(False)

    @pytest.mark.usefixtures("fresh_memory_is_nan")
    def test_no_tensor_is_forgotten(self, request):
        net = request.getfixturevalue("net")
        assert net[0][0].weight.isnan().all()
        init_mobile_weights(net)
        assert all(tensor.isfinite().all() for tensor in net.state_dict().values())

    def test_spread(self, net):
        torch.manual_seed(0)
        init_mobile_weights(net)
        expected = {
            "0.0": (2 / 256) ** 0.5,  # 1x1 to 256 channels
            "0.3": (2 / (9 * 256)) ** 0.5,  # 3x3 depthwise: the groups do not count
            "1.0": (2 / (25 * 64)) ** 0.5,
            "1.3": (2 / 256) ** 0.5,
            "2": 0.01,
        }
        found = {name: net.get_submodule(name).weight.std().item() for name in expected}
        assert found == pytest.approx(expected, rel=0.06)

    def test_norms_and_biases(self, net):
        init_mobile_weights(net)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert (module.weight == 1).all()
            if getattr(module, "bias", None) is not None:
                assert (module.bias == 0).all()


def shapes(block: MobileBlock) -> dict[str, tuple[int, ...]]:
    """Shape of each convolution of the row, by its name."""
    return {name: tuple(layer.weight.shape) for name, layer in block.named_children() if isinstance(layer, nn.Conv2d)}
