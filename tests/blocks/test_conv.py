"""Convolutions: TensorFlow's padding is TensorFlow's, and bare layers are plain torch layers."""

from __future__ import annotations

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from hubserve.blocks.conv import ConvStyle, SameConv2d

SAME = ConvStyle(padding="same")


def ones_over(size: int, style: ConvStyle) -> torch.Tensor:
    """How many pixels, not zeros of the padding, each 3x3 window of stride 2 sees on a size x size image."""
    conv = style.conv(1, 1, 3, stride=2)
    nn.init.ones_(conv.weight)
    return conv(torch.ones(1, 1, size, size))[0, 0].detach()


class TestPadding:
    def test_the_odd_zero_goes_below_and_right(self):
        assert ones_over(4, SAME).tolist() == [[9, 6], [6, 4]]
        assert ones_over(4, ConvStyle()).tolist() == [[4, 6], [6, 9]]

    def test_both_rules_agree_on_odd_sizes(self):
        torch.testing.assert_close(ones_over(5, SAME), ones_over(5, ConvStyle()), rtol=0, atol=0)

    @pytest.mark.parametrize("kernel", [1, 3, 5, 7])
    @pytest.mark.parametrize("size", [(8, 8), (7, 7), (9, 12), (1, 2)])
    @pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (3, 1), (2, 2)])
    def test_equals_timm(self, kernel, size, stride, dilation):
        ours = SameConv2d(4, 6, kernel, stride=stride, dilation=dilation, groups=2)
        theirs = Conv2dSame(4, 6, kernel, stride=stride, dilation=dilation, groups=2)
        theirs.load_state_dict(ours.state_dict())
        x = torch.randn(2, 4, *size)
        with torch.no_grad():
            torch.testing.assert_close(ours(x), theirs(x))

    def test_strides_differ_by_axis(self):
        conv = SameConv2d(1, 1, (3, 5), stride=(2, 1))
        assert conv(torch.zeros(1, 1, 9, 12)).shape == (1, 1, 5, 12)

    def test_at_stride_1_a_plain_convolution_does(self):
        assert type(SAME.conv(2, 2, 5)) is nn.Conv2d
        assert type(SAME.conv(2, 2, 5, stride=2)) is SameConv2d

    def test_names_of_tensors_do_not_depend_on_it(self):
        both = [style.conv(4, 4, 3, stride=2, groups=4).state_dict() for style in (SAME, ConvStyle())]
        assert [[(key, t.shape) for key, t in state.items()] for state in both] == [[("weight", (4, 1, 3, 3))]] * 2


class TestExport:
    """One exported network must serve batches, and where the format allows it sizes, that it was not exported with."""

    @pytest.fixture
    def conv(self):
        conv = SAME.conv(3, 4, 3, stride=2)
        nn.init.normal_(conv.weight)
        return conv.eval()

    @pytest.mark.parametrize("size", [8, 9])
    def test_script(self, conv, size):
        x = torch.randn(2, 3, size, size + 3)
        torch.testing.assert_close(torch.jit.script(conv)(x), conv(x))

    def test_export_with_a_dynamic_batch(self, conv):
        batch = torch.export.Dim("batch", min=1, max=64)
        program = torch.export.export(conv, (torch.randn(2, 3, 8, 8),), dynamic_shapes=({0: batch},))
        x = torch.randn(5, 3, 8, 8)
        torch.testing.assert_close(program.module()(x), conv(x))


def test_conv_bn_act():
    conv, norm, act = ConvStyle(bn_eps=1e-3, bn_momentum=0.01).conv_bn_act(3, 8, 5, activation=nn.ReLU6, stride=2)
    assert conv.bias is None
    assert (norm.num_features, norm.eps, norm.momentum) == (8, 1e-3, 0.01)
    assert isinstance(act, nn.ReLU6)
    nn.init.ones_(conv.weight)
    assert nn.Sequential(conv, norm, act)(torch.zeros(2, 3, 16, 16)).shape == (2, 8, 8, 8)
