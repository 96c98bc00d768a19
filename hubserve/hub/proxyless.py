"""The model space ProxylessNAS: a chain of inverted residuals with a searched kernel and expansion of each block."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import nn

from hubserve.blocks.conv import ConvStyle, Padding
from hubserve.blocks.fast_layers import bare
from hubserve.blocks.mobile import MobileBlock, depthwise_separable, init_mobile_weights, inverted_residual, make_divisible
from hubserve.errors import SpaceError
from hubserve.hub.hub_space import HubSpace
from hubserve.space import Picker

OPERATIONS = {"k3e3": (3, 3), "k5e3": (5, 3), "k7e3": (7, 3), "k3e6": (3, 6), "k5e6": (5, 6), "k7e6": (7, 6)}
"""Name of each candidate for a block -> (kernel size, expansion: hidden channels as a multiple of the input channels)."""

STRIDES = {2: 2, 3: 2, 4: 2, 5: 1, 6: 2}
"""Stage -> stride of its first block, for the stages with a searched depth; stage 7 is not one of them."""


@dataclass(frozen=True)
class ProxylessNAS(HubSpace):
    """The model space of "ProxylessNAS" (Cai et al. 2019, section 4.2), with a MobileNetV2 as backbone.

    The labels of its choices are, for s from 2 to 6, `s{s}_depth`, the number of blocks of stage s, from 1 to 4, and
    `s{s}_i{i}`, the kernel and expansion of its block i, counted from 0; and `s7_i0` for the only block of stage 7. In the
    paper, a block can also be an identity instead; the networks are the same, but here each of them has only one arch.

    Args:
        num_labels: Number of classes.
        base_widths: Number of channels of the stem, the first block, stages 2 to 7, and the last convolution: nine numbers.
        dropout_rate: Dropout probability before the classifier.
        width_mult: Factor by which all `base_widths` are multiplied.
        bn_eps: Number that the batch norms add to the variance, `eps` of `torch.nn.BatchNorm2d`.
        bn_momentum: Weight of the newest batch in the running statistics of the batch norms, from 0 to 1.
        padding: Zero padding of convolutions: "symmetric" as in PyTorch, or "same" for weights that were trained in TensorFlow,
            such as those of EfficientNet-Lite0.

    Shapes of the network:
        forward: x (batch, 3, height, width) float32 -> logits (batch, num_labels).

    Raises:
        SpaceError: `base_widths` does not have nine entries, or `num_labels` is below 1. An unknown `padding` is found only
            when a network is built.
    """

    num_labels: int = 1000
    base_widths: tuple[int, ...] = (32, 16, 32, 40, 80, 96, 192, 320, 1280)
    dropout_rate: float = 0.0
    width_mult: float = 1.0
    bn_eps: float = 1e-3
    bn_momentum: float = 0.1
    padding: Padding = "symmetric"

    channels_last: ClassVar[bool] = True
    paper: ClassVar[str] = "https://arxiv.org/abs/1812.00332"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.base_widths) != 9:
            raise SpaceError(
                f"ProxylessNAS: base_widths has {len(self.base_widths)} entries and needs 9: stem, first block, "
                "stages 2 to 7, last convolution"
            )

    def build(self, pick: Picker) -> nn.Module:
        """Returns the initialised network with the values that `pick` chooses for the labels."""
        widths = [make_divisible(width * self.width_mult) for width in self.base_widths]
        style = ConvStyle(self.bn_eps, self.bn_momentum, self.padding)
        stages = [_stage(pick, stage, stride, widths[stage - 1], widths[stage], style) for stage, stride in STRIDES.items()]
        first = depthwise_separable(widths[0], widths[1], 3, style=style, activation=_relu6)
        last = _block(pick, "s7_i0", widths[6], widths[7], 1, style)
        net = ProxylessNet(self, widths, [first, *stages, last], style)
        init_mobile_weights(net)
        return net


class ProxylessNet(nn.Module):
    """The network of one arch of ProxylessNAS; the keys of its state dict are those of NNI.

    Args:
        space: The space, whose settings apply.
        widths: Number of channels of each entry of `space.base_widths`, after multiplication and rounding.
        blocks: The first block, stages 2 to 6, and the block of stage 7.
        style: Padding of the convolutions and settings of the batch norms.

    Shapes:
        forward: x (batch, 3, height, width) -> logits (batch, num_labels).
    """

    def __init__(self, space: ProxylessNAS, widths: list[int], blocks: list[nn.Module], style: ConvStyle) -> None:
        super().__init__()
        self.stem = nn.Sequential(*style.conv_bn_act(3, widths[0], 3, stride=2, activation=_relu6))
        self.blocks = nn.Sequential(*blocks)
        self.feature_mix_layer = nn.Sequential(*style.conv_bn_act(widths[7], widths[8], activation=_relu6))
        self.global_avg_pooling = nn.AdaptiveAvgPool2d(1)
        self.dropout_layer = nn.Dropout(space.dropout_rate)
        self.classifier = bare(nn.Linear, widths[8], space.num_labels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.feature_mix_layer(self.blocks(self.stem(x)))
        return self.classifier(self.dropout_layer(self.global_avg_pooling(features).flatten(1)))


def _stage(pick: Picker, stage: int, stride: int, c_in: int, c_out: int, style: ConvStyle) -> nn.Sequential:
    """Returns the blocks of stage `stage` (2 to 6), of which the first has `c_in` input channels and stride `stride`."""

    def block(i: int) -> nn.Module:
        return _block(pick, f"s{stage}_i{i}", c_in if i == 0 else c_out, c_out, stride if i == 0 else 1, style)

    return nn.Sequential(*pick.repeat(f"s{stage}_depth", (1, 4), block))


def _block(pick: Picker, label: str, c_in: int, c_out: int, stride: int, style: ConvStyle) -> nn.Module:
    """Returns the inverted residual that `pick` chooses from `OPERATIONS` for the label `label`."""
    block = partial(inverted_residual, style=style, activation=_relu6, stride=stride, residual=stride == 1 and c_in == c_out)

    def candidate(name: str) -> MobileBlock:
        kernel, expansion = OPERATIONS[name]
        return block(c_in, make_divisible(c_in * expansion), c_out, kernel)

    return pick.layer(label, {name: partial(candidate, name) for name in OPERATIONS})


def _relu6() -> nn.Module:
    """Returns the activation of all layers of the network."""
    return nn.ReLU6(inplace=True)
