"""Operations on the edges of cells in the spaces of the NASNet family: convolutions, poolings and skip connections.

An operation keeps the number of channels and divides height and width by its stride, rounded up. Operations with weights begin
with a ReLU and end with a batch norm; poolings have neither. Weights have torch's default initialisation.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from hubserve.blocks.fast_layers import batch_norm, conv2d
from hubserve.errors import SpaceError

Operation = Callable[[int, int], nn.Module]
"""Function (channels, stride) -> layer: (batch, channels, h, w) -> (batch, channels, ceil(h / stride), ceil(w / stride))."""


class FactorizedReduce(nn.Module):
    """Halves height and width with two 1x1 convolutions of stride 2, the second of which is shifted by one row and one column.

    Together they read two of each four pixels. A ReLU comes before them, a batch norm after them. This is the layer of the
    reference code of DARTS (Liu et al. 2019), which allows only even sizes; here, as in NNI, odd sizes are padded with zeros at
    the bottom and at the right.

    Shapes:
        forward: x (batch, c_in, height, width) -> (batch, c_out, ceil(height / 2), ceil(width / 2)).

    Raises:
        SpaceError: `c_out` is below 2, so that one of the convolutions would have no output channel.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        if c_out < 2:
            raise SpaceError(f"FactorizedReduce computes its output channels in two halves: c_out = {c_out} must be at least 2")
        self.relu = nn.ReLU()
        self.conv_1 = conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.conv_2 = conv2d(c_in, c_out - c_out // 2, 1, stride=2, bias=False)
        self.bn = batch_norm(c_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(x)
        shifted = functional.pad(x, [0, 1, 0, 1])[:, :, 1:, 1:]
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(shifted)], dim=1))


def relu_conv_bn(c_in: int, c_out: int, kernel: int = 1, *, stride: int = 1) -> nn.Sequential:
    """Returns the sequence of ReLU, convolution without bias and batch norm.

    It maps (batch, c_in, height, width) to (batch, c_out, ceil(height / stride), ceil(width / stride)); `kernel` must be odd.
    """
    conv = conv2d(c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, batch_norm(c_out))


def _conv(channels: int, stride: int, *, kernel: int) -> nn.Module:
    """Returns `relu_conv_bn` with as many output as input channels."""
    return relu_conv_bn(channels, channels, kernel, stride=stride)


def _crossed_conv(channels: int, stride: int, *, kernel: int) -> nn.Module:
    """Returns ReLU, a 1 x kernel and a kernel x 1 convolution, each with the stride along its longer axis, and batch norm."""
    row = conv2d(channels, channels, (1, kernel), stride=(1, stride), padding=(0, kernel // 2), bias=False)
    column = conv2d(channels, channels, (kernel, 1), stride=(stride, 1), padding=(kernel // 2, 0), bias=False)
    return nn.Sequential(nn.ReLU(), row, column, batch_norm(channels))


def _separable_conv(channels: int, stride: int, *, kernel: int, dilation: int = 1, times: int = 1) -> nn.Module:
    """Returns `times` times the layers ReLU, depthwise and 1x1 convolution, batch norm; only the first time has `stride`."""
    padding = dilation * (kernel // 2)
    layers: list[nn.Module] = []
    depthwise = partial(conv2d, channels, channels, kernel, padding=padding, dilation=dilation, groups=channels, bias=False)
    for own_stride in (stride, *[1] * (times - 1)):
        layers += [nn.ReLU(), depthwise(stride=own_stride), conv2d(channels, channels, 1, bias=False), batch_norm(channels)]
    return nn.Sequential(*layers)


def _skip(channels: int, stride: int) -> nn.Module:
    """Returns the identity for stride 1, and a `FactorizedReduce` for stride 2."""
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)


def _avg_pool(channels: int, stride: int, *, kernel: int) -> nn.Module:
    """Returns an average pooling that does not count the padding."""
    return nn.AvgPool2d(kernel, stride=stride, padding=kernel // 2, count_include_pad=False)


def _max_pool(channels: int, stride: int, *, kernel: int) -> nn.Module:
    """Returns a max pooling with padding kernel // 2."""
    return nn.MaxPool2d(kernel, stride=stride, padding=kernel // 2)


OPERATIONS: Mapping[str, Operation] = {
    "skip_connect": _skip,
    "avg_pool_3x3": partial(_avg_pool, kernel=3),
    "max_pool_3x3": partial(_max_pool, kernel=3),
    "max_pool_5x5": partial(_max_pool, kernel=5),
    "max_pool_7x7": partial(_max_pool, kernel=7),
    "conv_1x1": partial(_conv, kernel=1),
    "conv_3x3": partial(_conv, kernel=3),
    "conv_3x1_1x3": partial(_crossed_conv, kernel=3),
    "conv_7x1_1x7": partial(_crossed_conv, kernel=7),
    "sep_conv_3x3": partial(_separable_conv, kernel=3, times=2),
    "sep_conv_5x5": partial(_separable_conv, kernel=5, times=2),
    "sep_conv_7x7": partial(_separable_conv, kernel=7, times=2),
    "dil_conv_3x3": partial(_separable_conv, kernel=3, dilation=2),
    "dil_conv_5x5": partial(_separable_conv, kernel=5, dilation=2),
    "dil_sep_conv_3x3": partial(_separable_conv, kernel=3, dilation=2, times=2),
}
"""Name -> operation. The names are those of Radosavovic et al. 2019 (https://arxiv.org/abs/1905.13214)."""
