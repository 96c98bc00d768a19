"""Blocks of mobile networks: depthwise separable convolution, inverted residual, squeeze-and-excite."""

from collections.abc import Iterable

import torch
from torch import nn

from hubserve.blocks.conv import Activation, ConvStyle
from hubserve.blocks.fast_init import init_normal
from hubserve.blocks.fast_layers import bare
from hubserve.errors import SpaceError


def make_divisible(value: float, divisor: int = 8) -> int:
    """`value` rounded to a multiple of `divisor`, at least `divisor` and never more than 10 % below `value`.

    The rule of MobileNetV2's reference code, with `round` in place of its `int`, as in NNI; for whole numbers both are equal.
    """
    rounded = max(divisor, round(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


class SqueezeExcite(nn.Module):
    """Channel attention: each channel is scaled by a gate computed from the means of all (Hu et al. 2018, section 3).

    MobileNetV3's variant has a hard sigmoid as gate (Howard et al. 2019, section 5.3).

    Args:
        channels: Number of channels of the input and the output.
        squeezed: Number of channels between the two convolutions; a quarter of `channels` in MobileNetV3.

    Shapes:
        forward: x (batch, channels, height, width) -> the same shape.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.conv_reduce = bare(nn.Conv2d, channels, squeezed, 1)
        self.act1 = nn.ReLU(inplace=True)
        self.conv_expand = bare(nn.Conv2d, squeezed, channels, 1)
        self.gate = nn.Hardsigmoid(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        squeezed = x.mean((2, 3), keepdim=True)
        return x * self.gate(self.conv_expand(self.act1(self.conv_reduce(squeezed))))


class MobileBlock(nn.Sequential):
    """A sequence of layers, with a skip connection around them where `residual` is True.

    Shapes:
        forward: x (batch, c_in, height, width) -> (batch, c_out, ceil(height / stride), ceil(width / stride)).
    """

    def __init__(self, layers: Iterable[nn.Module], *, residual: bool) -> None:
        super().__init__(*layers)
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for layer in self:
            y = layer(y)
        return x + y if self.residual else y


def depthwise_separable(
    c_in: int,
    c_out: int,
    kernel: int,
    *,
    style: ConvStyle,
    activation: Activation,
    stride: int = 1,
    squeeze: int | None = None,
    residual: bool = False,
) -> MobileBlock:
    """Depthwise convolution, optional squeeze-and-excite, then a 1x1 convolution without activation (MobileNetV1 and V2).

    Args:
        c_in: Number of channels of the input.
        c_out: Number of channels of the output.
        kernel: Height and width of the depthwise kernel, odd.
        style: Settings of batch norm and padding.
        activation: Function that builds an activation layer.
        stride: Stride of the depthwise convolution.
        squeeze: Middle channels of squeeze-and-excite. None leaves it out; later layers then have smaller indices in their
            keys.
        residual: Whether the input is added to the output, which must have the same shape.

    Raises:
        SpaceError: `residual` is True and the shapes differ, or `kernel` is even.
    """
    _check_residual(residual, c_in, c_out, stride)
    layers = style.conv_bn_act(c_in, c_in, kernel, activation=activation, stride=stride, groups=c_in)
    return MobileBlock([*layers, *_project(c_in, c_out, style, squeeze)], residual=residual)


def inverted_residual(
    c_in: int,
    c_hidden: int,
    c_out: int,
    kernel: int,
    *,
    style: ConvStyle,
    activation: Activation,
    stride: int = 1,
    squeeze: int | None = None,
    residual: bool = False,
) -> MobileBlock:
    """A 1x1 convolution to `c_hidden` channels, then the layers of `depthwise_separable` (Sandler et al. 2018, section 3.3).

    The first convolution is present even where `c_hidden` equals `c_in`. Other arguments and errors are those of
    `depthwise_separable`.
    """
    _check_residual(residual, c_in, c_out, stride)
    expand = style.conv_bn_act(c_in, c_hidden, activation=activation)
    depthwise = style.conv_bn_act(c_hidden, c_hidden, kernel, activation=activation, stride=stride, groups=c_hidden)
    return MobileBlock([*expand, *depthwise, *_project(c_hidden, c_out, style, squeeze)], residual=residual)


def _check_residual(residual: bool, c_in: int, c_out: int, stride: int) -> None:
    if residual and (c_in != c_out or stride != 1):
        raise SpaceError(
            f"a block cannot add its input to its output with {c_in} channels in, {c_out} out and stride {stride}: "
            "a residual needs as many channels, and stride 1"
        )


def _project(channels: int, c_out: int, style: ConvStyle, squeeze: int | None) -> list[nn.Module]:
    attention = [] if squeeze is None else [SqueezeExcite(channels, squeeze)]
    return [*attention, style.conv(channels, c_out), style.norm(c_out)]


def init_mobile_weights(model: nn.Module) -> None:
    """Initialises convolutions and linear layers of a mobile network, in place.

    Convolutions are normal by He et al. 2015 over the fan out, without regard to groups; linear layers are N(0, 0.01); biases
    are 0. Batch norms have 1 and 0 from their construction.
    """
    if next(model.parameters()).is_meta:
        return  # There are no values to fill, and torch takes as long to notice.
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            init_normal(module.weight, std=(2.0 / fan_out) ** 0.5)
        elif isinstance(module, nn.Linear):
            init_normal(module.weight, std=0.01)
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            nn.init.zeros_(module.bias)
