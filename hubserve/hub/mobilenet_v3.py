"""The model space MobileNetV3Space: MobileNetV3 with searched widths, kernels, expansions, depths and squeeze-and-excite."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import nn

from hubserve.blocks.conv import Activation, ConvStyle, Padding
from hubserve.blocks.fast_layers import bare
from hubserve.blocks.mobile import MobileBlock, depthwise_separable, init_mobile_weights, inverted_residual, make_divisible
from hubserve.errors import SpaceError
from hubserve.hub.hub_space import HubSpace
from hubserve.space import Picker

ACTIVATIONS: Mapping[str, Activation] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "swish": lambda: nn.SiLU(inplace=True),
    "hswish": lambda: nn.Hardswish(inplace=True),
}
"""Name of each allowed activation -> function that makes the module."""

SQUEEZE_EXCITE = ("none", "optional", "force")
"""Allowed values for a stage: its blocks have no squeeze-and-excite, each block's is searched, or all blocks have one."""


@dataclass(frozen=True)
class MobileNetV3Space(HubSpace):
    """The largest model space of TuNAS (Bender et al. 2020, section 4.1), built on MobileNetV3 (Howard et al. 2019).

    Stages and blocks are counted from 0. Stage 0 is one depthwise separable block; each other stage has one or more inverted
    residuals. Unlike in TuNAS, stage 0 is never skipped. The labels of the choices are:

    - `stem_ks`: Kernel size of the stem.
    - `s{s}_width_mult`: Factor on the width of stage s. With six stages (0 to 5), `s6_width_mult` is that of the last
      convolution, and `s7_width_mult` that of the layer after the pooling.
    - `s{s}_depth`: Number of blocks of stage s, which is at least 1.
    - `s{s}_i{i}_ks`: Kernel size of block i of stage s.
    - `s{s}_i{i}_exp`: Expansion of block i of stage s, which is at least 1.
    - `s{s}_i{i}_se`: "se" or "identity", for a block with or without squeeze-and-excite; only in stages with "optional".

    Args:
        num_labels: Number of classes.
        base_widths: Number of channels of the stem, of each stage, of the last convolution and of the layer after the pooling.
        width_multipliers: Candidates for the factor by which each of `base_widths` is multiplied; stem and stage 0 have the
            same factor. A single number is the factor of all of them, which is then not searched.
        expand_ratios: Candidates for the number of hidden channels of an inverted residual, as a multiple of its input
            channels.
        squeeze_excite: For each stage "none", "optional" or "force": its blocks have no squeeze-and-excite, each block's is
            searched, or all blocks have one.
        depth_range: Smallest and largest number of blocks of a stage, both included.
        stride: Stride of the first layer or block of each entry of `base_widths`; the last two must be 1.
        activation: Activation "relu", "swish" or "hswish" for each entry of `base_widths`.
        se_from_exp: Whether a squeeze-and-excite has a quarter of the block's hidden channels between its two convolutions;
            False gives it a quarter of the block's input channels.
        dropout_rate: Dropout probability before the classifier.
        bn_eps: Number that the batch norms add to the variance, `eps` of `torch.nn.BatchNorm2d`.
        bn_momentum: Weight of the newest batch in the running statistics of the batch norms, from 0 to 1.
        padding: Zero padding of convolutions: "symmetric" as in PyTorch, or "same" for weights that were trained in TensorFlow.

    Shapes of the network:
        forward: x (batch, 3, height, width) float32 -> logits (batch, num_labels).

    Raises:
        SpaceError: The lengths of the tuples do not match, a name is unknown, `stride` does not end in 1, 1, the smallest depth
            is below 1, or `num_labels` is below 1. An unknown `padding` is found only when a network is built.
    """

    num_labels: int = 1000
    base_widths: tuple[int, ...] = (16, 16, 16, 32, 64, 128, 256, 512, 1024)
    width_multipliers: tuple[float, ...] | float = (0.5, 0.625, 0.75, 1.0, 1.25, 1.5, 2.0)
    expand_ratios: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    squeeze_excite: tuple[str, ...] = ("none", "none", "optional", "none", "optional", "optional")
    depth_range: tuple[int, int] = (1, 4)
    stride: tuple[int, ...] = (2, 1, 2, 2, 2, 1, 2, 1, 1)
    activation: tuple[str, ...] = ("hswish", "relu", "relu", "relu", "hswish", "hswish", "hswish", "hswish", "hswish")
    se_from_exp: bool = True
    dropout_rate: float = 0.2
    bn_eps: float = 1e-3
    bn_momentum: float = 0.1
    padding: Padding = "symmetric"

    channels_last: ClassVar[bool] = True
    paper: ClassVar[str] = "https://arxiv.org/abs/2008.06120"

    def __post_init__(self) -> None:
        super().__post_init__()
        places = len(self.base_widths)
        if not places == len(self.stride) == len(self.activation) == len(self.squeeze_excite) + 3:
            raise SpaceError(
                f"MobileNetV3Space: base_widths has {places} entries, stride {len(self.stride)}, "
                f"activation {len(self.activation)}: these must agree; squeeze_excite has {len(self.squeeze_excite)} "
                "and needs three less, one for each stage"
            )
        if self.stride[-2:] != (1, 1):
            raise SpaceError(f"MobileNetV3Space: stride = {self.stride} must end in 1, 1: the last two layers do not shrink")
        _known("activation", self.activation, tuple(ACTIVATIONS))
        _known("squeeze_excite", self.squeeze_excite, SQUEEZE_EXCITE)
        if self.depth_range[0] < 1:
            raise SpaceError(f"MobileNetV3Space: depth_range = {self.depth_range} must start at 1 or more")

    def build(self, pick: Picker) -> nn.Module:
        """Returns the initialised network with the values that `pick` chooses for the labels."""
        net = _Builder(self, pick).network()
        init_mobile_weights(net)
        return net


class MobileNetV3(nn.Module):
    """The network of one arch of MobileNetV3Space; the keys of its state dict are those of NNI.

    Args:
        stem: The first convolution with its batch norm and activation.
        blocks: The stages, the last convolution, the pooling, and the layer after the pooling.
        classifier: Dropout and a linear layer.

    Shapes:
        forward: x (batch, 3, height, width) -> logits (batch, num_labels).
    """

    def __init__(self, stem: nn.Sequential, blocks: list[nn.Module], classifier: nn.Sequential) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.Sequential(*blocks)
        self.classifier = classifier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.blocks(self.stem(x)).flatten(1))


class _Builder:
    """Builds a MobileNetV3 from the stem to the classifier; it calls `pick` for the labels in the order that NNI has."""

    def __init__(self, space: MobileNetV3Space, pick: Picker) -> None:
        self.space = space
        self.pick = pick
        self.style = ConvStyle(space.bn_eps, space.bn_momentum, space.padding)
        self.stages = len(space.squeeze_excite)

    def network(self) -> MobileNetV3:
        """Returns the network, without initialised weights."""
        space = self.space
        channels = self.width(0, stage=0)
        kernel = self.pick("stem_ks", (3, 5))
        stem = self.style.conv_bn_act(3, channels, kernel, stride=space.stride[0], activation=self.activation(0))
        blocks: list[nn.Module] = [self.first_stage(channels)]
        channels = self.width(1, stage=0)
        for stage in range(1, self.stages):
            blocks.append(self.stage(stage, channels))
            channels = self.width(stage + 1, stage)
        head, features = self.head(channels)
        classifier = nn.Sequential(nn.Dropout(space.dropout_rate), bare(nn.Linear, features, space.num_labels))
        return MobileNetV3(nn.Sequential(*stem), [*blocks, *head], classifier)

    def first_stage(self, c_in: int) -> MobileBlock:
        """Returns stage 0, a depthwise separable block whose input has `c_in` channels."""
        block = partial(depthwise_separable, style=self.style, activation=self.activation(1))
        stride, kernel = self.space.stride[1], self.pick("s0_i0_ks", (3, 5, 7))
        c_out, squeeze = self.width(1, stage=0), self.squeeze(0, 0, c_in, c_in)
        residual = self.residual(0, c_in, c_out, stride)
        return block(c_in, c_out, kernel, stride=stride, squeeze=squeeze, residual=residual)

    def stage(self, stage: int, c_in: int) -> nn.Sequential:
        """Returns the blocks of stage `stage`, which is at least 1 and whose input has `c_in` channels."""
        blocks = self.pick.repeat(f"s{stage}_depth", self.space.depth_range, lambda i: self.block(stage, i, c_in))
        return nn.Sequential(*blocks)

    def block(self, stage: int, i: int, stage_in: int) -> MobileBlock:
        """Returns block `i` of stage `stage`, an inverted residual; the input of the stage has `stage_in` channels."""
        stride = self.space.stride[stage + 1] if i == 0 else 1
        ratio = self.pick(f"s{stage}_i{i}_exp", self.space.expand_ratios)
        kernel = self.pick(f"s{stage}_i{i}_ks", (3, 5, 7))
        c_in = stage_in if i == 0 else self.width(stage + 1, stage)
        hidden = make_divisible(c_in * ratio)
        squeeze = self.squeeze(stage, i, hidden, c_in)
        # In NNI's order of labels, the width of a stage follows the squeeze-and-excite of its first block.
        c_out = self.width(stage + 1, stage)
        block = partial(inverted_residual, style=self.style, activation=self.activation(stage + 1))
        residual = self.residual(i, c_in, c_out, stride)
        return block(c_in, hidden, c_out, kernel, stride=stride, squeeze=squeeze, residual=residual)

    def head(self, c_in: int) -> tuple[list[nn.Module], int]:
        """Returns ([last convolution, pooling, layer after the pooling], number of output channels of that layer)."""
        last = self.stages + 1
        c_last, features = self.width(last, self.stages), self.width(last + 1, self.stages + 1)
        conv = nn.Sequential(*self.style.conv_bn_act(c_in, c_last, activation=self.activation(last)))
        mix = nn.Sequential(bare(nn.Conv2d, c_last, features, 1), self.activation(last + 1)())
        return [conv, nn.AdaptiveAvgPool2d(1), mix], features

    def width(self, place: int, stage: int) -> int:
        """Returns `base_widths[place]` times the factor that is chosen for `stage`, rounded by `make_divisible`."""
        return make_divisible(self.space.base_widths[place] * self.pick(f"s{stage}_width_mult", self.space.width_multipliers))

    def activation(self, place: int) -> Activation:
        """Returns the function that makes the activation of entry `place` of `base_widths`."""
        return ACTIVATIONS[self.space.activation[place]]

    def squeeze(self, stage: int, i: int, hidden: int, c_in: int) -> int | None:
        """Returns the number of channels between the two convolutions of a squeeze-and-excite; None for a block without one.

        Args:
            stage: Number of the stage.
            i: Number of the block in its stage.
            hidden: Number of hidden channels of the block.
            c_in: Number of input channels of the block.
        """
        wanted = self.space.squeeze_excite[stage]
        if wanted == "optional":
            wanted = {"identity": "none", "se": "force"}[self.pick(f"s{stage}_i{i}_se", ("identity", "se"))]
        return make_divisible((hidden if self.space.se_from_exp else c_in) * 0.25) if wanted == "force" else None

    def residual(self, i: int, c_in: int, c_out: int, stride: int) -> bool:
        """Returns True if block `i` of a stage adds its input to its output.

        This needs stride 1 and equal numbers of input and output channels. As in NNI, the first block of a stage (`i` = 0)
        never has such a skip connection if widths are searched (`width_multipliers` is a tuple), even if the numbers are equal.
        """
        same = i > 0 or (isinstance(self.space.width_multipliers, (int, float)) and c_in == c_out)
        return stride == 1 and same


def _known(setting: str, found: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    """Raises SpaceError unless all names in `found`, the value of the argument `setting`, are in `allowed`."""
    unknown = [name for name in found if name not in allowed]
    if unknown:
        raise SpaceError(f"MobileNetV3Space: {setting} has {unknown[0]!r}, which is none of {allowed}")
