"""Blocks of mobile networks: depthwise separable convolution, inverted residual, squeeze-and-excite."""

from collections.abc import Iterable

import torch
from torch import nn

from hubserve.blocks.conv import Activation, ConvStyle
from hubserve.blocks.fast_init import init_normal
from hubserve.blocks.fast_layers import bare
from hubserve.errors import SpaceError


def make_divisible(value: float, divisor: int = 8) -> int:
    """Returns `value` rounded to a multiple of `divisor`, at least `divisor` and never more than 10 % below `value`.

    This is the rule of MobileNetV2's reference code, except that `value + divisor / 2` is rounded to the nearest integer, as in
    NNI, and not down.
    """
    rounded = max(divisor, round(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


class SqueezeExcite(nn.Module):
    """Squeeze-and-excite: multiplies each channel by a gate that is computed from the means of all channels.

    Source: Hu et al. 2018, section 3. The gate is a hard sigmoid, as in MobileNetV3 (Howard et al. 2019, section 5.3). Weights
    are not initialised.

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
    """A sequence of layers; if `residual` is True, their input is added to their output, which must have the same shape.

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
    """Returns a block of depthwise convolution, optional squeeze-and-excite and 1x1 convolution without activation.

    MobileNetV2 begins with this block. Weights of convolutions are not initialised.

    Args:
        c_in: Number of channels of the input.
        c_out: Number of channels of the output.
        kernel: Height and width of the depthwise kernel, odd.
        style: Settings of batch norm and padding.
        activation: Function that builds an activation layer.
        stride: Stride of the depthwise convolution.
        squeeze: Number of channels between the two convolutions of squeeze-and-excite. None leaves it out; the indices of the
            layers after it, which are part of their state dict keys, are then lower by one.
        residual: Whether the input is added to the output, which must have the same shape.

    Raises:
        SpaceError: `residual` is True and `c_in` differs from `c_out` or `stride` is not 1; or `kernel` is even.
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
    """Returns a block of a 1x1 convolution to `c_hidden` channels and the layers of `depthwise_separable` on these channels.

    The first convolution is present even if `c_hidden` equals `c_in`. Other arguments and errors are those of
    `depthwise_separable`. Source: MobileNetV2 (Sandler et al. 2018, section 3.3).
    """
    _check_residual(residual, c_in, c_out, stride)
    expand = style.conv_bn_act(c_in, c_hidden, activation=activation)
    depthwise = style.conv_bn_act(c_hidden, c_hidden, kernel, activation=activation, stride=stride, groups=c_hidden)
    return MobileBlock([*expand, *depthwise, *_project(c_hidden, c_out, style, squeeze)], residual=residual)


def _check_residual(residual: bool, c_in: int, c_out: int, stride: int) -> None:
    """Raises SpaceError if `residual` is True and the input and output of a block have different shapes."""
    if residual and (c_in != c_out or stride != 1):
        raise SpaceError(
            f"a block cannot add its input to its output with {c_in} channels in, {c_out} out and stride {stride}: "
            "a residual needs as many channels, and stride 1"
        )


def _project(channels: int, c_out: int, style: ConvStyle, squeeze: int | None) -> list[nn.Module]:
    """Returns the last layers of a block: optional squeeze-and-excite, a 1x1 convolution and batch norm."""
    attention = [] if squeeze is None else [SqueezeExcite(channels, squeeze)]
    return [*attention, style.conv(channels, c_out), style.norm(c_out)]


def init_mobile_weights(model: nn.Module) -> None:
    """Initialises the weights and biases of all `Conv2d` and `Linear` layers of a network in place, by MobileNet's rule.

    Weights are normal with mean 0. The standard deviation is sqrt(2 / fan out) for convolutions (He et al. 2015), where the fan
    out is kernel height * kernel width * output channels, without division by groups, and 0.01 for linear layers. Biases are 0.
    Other layers, such as batch norms, are not changed. A network on the meta device is left as it is.
    """
    if next(model.parameters()).is_meta:
        return  # There are no values to fill; without this test, the calls below would take as long as on the CPU.
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            init_normal(module.weight, std=(2.0 / fan_out) ** 0.5)
        elif isinstance(module, nn.Linear):
            init_normal(module.weight, std=0.01)
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            nn.init.zeros_(module.bias)
