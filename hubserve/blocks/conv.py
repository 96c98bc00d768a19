"""Convolutions with batch norm and activation, and with TensorFlow's padding; none of them is initialised."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn
from torch.nn import functional

from hubserve.blocks.fast_layers import bare, batch_norm
from hubserve.errors import SpaceError

Padding = Literal["symmetric", "same"]
"""Zeros around the input of a convolution: (k - 1) / 2 on each side, or TensorFlow's "SAME", which at stride 2 may put one more
at the bottom and right."""

Activation = Callable[[], nn.Module]


@dataclass(frozen=True)
class ConvStyle:
    """Settings that all convolutions of a network share.

    Attributes:
        bn_eps: Number that batch norm adds to the variance.
        bn_momentum: Weight of the newest batch in the running statistics of batch norm.
        padding: Zeros around the input: "symmetric", or TensorFlow's "same".

    Raises:
        SpaceError: `padding` is unknown.
    """

    bn_eps: float = 1e-5
    bn_momentum: float = 0.1
    padding: Padding = "symmetric"

    def __post_init__(self) -> None:
        if self.padding not in get_args(Padding):
            raise SpaceError(f"padding = {self.padding!r} is not one of {get_args(Padding)}")

    def norm(self, channels: int) -> nn.BatchNorm2d:
        """Batch norm over `channels`."""
        return batch_norm(channels, eps=self.bn_eps, momentum=self.bn_momentum)

    def conv(self, c_in: int, c_out: int, kernel: int = 1, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
        """A convolution without bias that keeps height and width at stride 1; its weights are not initialised yet.

        Raises:
            SpaceError: `kernel` is even; then no equal padding on both sides keeps the size.
        """
        if kernel % 2 == 0:
            raise SpaceError(f"a convolution's kernel = {kernel} must be odd: with an even one height and width would change")
        if self.padding == "same" and stride > 1:
            return bare(SameConv2d, c_in, c_out, kernel, stride=stride, groups=groups, bias=False)
        return bare(nn.Conv2d, c_in, c_out, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)

    def conv_bn_act(
        self, c_in: int, c_out: int, kernel: int = 1, *, activation: Activation, stride: int = 1, groups: int = 1
    ) -> list[nn.Module]:
        """Convolution, batch norm and activation, for a Sequential of the caller."""
        return [self.conv(c_in, c_out, kernel, stride=stride, groups=groups), self.norm(c_out), activation()]


class SameConv2d(nn.Conv2d):
    """A convolution padded by TensorFlow's "SAME" rule: the output has ceil(size / stride) rows and columns.

    An odd number of zeros has the additional one below and right.

    Shapes:
        forward: x (batch, c_in, height, width) -> (batch, c_out, ceil(height / stride), ceil(width / stride)).
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = self._missing(x.shape[2], 0)
        columns = self._missing(x.shape[3], 1)
        padded = functional.pad(x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
        return functional.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    def _missing(self, size: int, axis: int) -> int:
        """Number of zeros that the last window needs along one axis."""
        stride, reach = self.stride[axis], self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
        return max((-(-size // stride) - 1) * stride + reach - size, 0)
