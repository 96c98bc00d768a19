"""Convolutions with batch norm and activation that share settings (`ConvStyle`), and TensorFlow's padding (`SameConv2d`)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn
from torch.nn import functional

from hubserve.blocks.fast_layers import bare, batch_norm
from hubserve.errors import SpaceError

Padding = Literal["symmetric", "same"]
"""Zero padding of a convolution with kernel size k: "symmetric" adds (k - 1) / 2 zeros on each side. "same" is TensorFlow's
rule "SAME", which at stride 2 may add one zero more at the bottom and at the right than at the top and at the left."""

Activation = Callable[[], nn.Module]
"""Function without arguments that builds an activation layer, for example `nn.ReLU`."""


@dataclass(frozen=True)
class ConvStyle:
    """Settings of batch norm and padding that the convolutions of a network share, with methods that build these layers.

    Attributes:
        bn_eps: Number that batch norm adds to the variance; `eps` of `nn.BatchNorm2d`.
        bn_momentum: Weight of the newest batch in the running statistics of batch norm; `momentum` of `nn.BatchNorm2d`.
        padding: Zero padding of convolutions: "symmetric", or "same" for TensorFlow's rule.

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
        """Returns a batch norm over `channels` channels, initialised as by torch."""
        return batch_norm(channels, eps=self.bn_eps, momentum=self.bn_momentum)

    def conv(self, c_in: int, c_out: int, kernel: int = 1, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
        """Returns a convolution without bias, padded so that it keeps height and width at stride 1, with uninitialised weights.

        Args:
            c_in: Number of channels of the input.
            c_out: Number of channels of the output.
            kernel: Height and width of the kernel, odd.
            stride: Stride along both axes.
            groups: Number of groups of channels; `c_in` for a depthwise convolution.

        Raises:
            SpaceError: `kernel` is even. An even kernel needs unequal padding to keep height and width.
        """
        if kernel % 2 == 0:
            raise SpaceError(f"a convolution's kernel = {kernel} must be odd: with an even one height and width would change")
        if self.padding == "same" and stride > 1:
            return bare(SameConv2d, c_in, c_out, kernel, stride=stride, groups=groups, bias=False)
        return bare(nn.Conv2d, c_in, c_out, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)

    def conv_bn_act(
        self, c_in: int, c_out: int, kernel: int = 1, *, activation: Activation, stride: int = 1, groups: int = 1
    ) -> list[nn.Module]:
        """Returns a list of three layers, `conv`, `norm` and `activation()`; arguments and errors are those of `conv`."""
        return [self.conv(c_in, c_out, kernel, stride=stride, groups=groups), self.norm(c_out), activation()]


class SameConv2d(nn.Conv2d):
    """A convolution with the zero padding of TensorFlow's "SAME" rule: the output has ceil(size / stride) rows and columns.

    Arguments and initialisation are those of `nn.Conv2d`; its `padding` is ignored. If the number of zeros along an axis is
    odd, one zero more is added at the bottom or at the right.

    Shapes:
        forward: x (batch, c_in, height, width) -> (batch, c_out, ceil(height / stride), ceil(width / stride)).
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = self._missing(x.shape[2], 0)
        columns = self._missing(x.shape[3], 1)
        padded = functional.pad(x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
        return functional.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    def _missing(self, size: int, axis: int) -> int:
        """Returns the number of zeros to add to an input with `size` elements along an axis (0 for rows, 1 for columns)."""
        stride, reach = self.stride[axis], self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
        return max((-(-size // stride) - 1) * stride + reach - size, 0)
