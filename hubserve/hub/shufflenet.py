"""The space ShuffleNetSpace of Single Path One-Shot: four kinds of shuffle block in each of twenty places."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import nn

from hubserve.blocks.conv import ConvStyle
from hubserve.blocks.fast_init import init_normal
from hubserve.blocks.fast_layers import bare, batch_norm
from hubserve.blocks.shuffle import ShuffleBlock, shuffle_block, xception_block
from hubserve.hub.hub_space import HubSpace
from hubserve.space import Picker

STAGES = ((4, 64), (4, 160), (8, 320), (4, 640))
"""(blocks, output channels) of each stage; the first block of a stage halves height and width."""

STEM, LAST = 16, 1024
"""Channels of the first and of the last convolution."""


@dataclass(frozen=True)
class ShuffleNetSpace(HubSpace):
    """Guo et al. 2020, "Single Path One-Shot Neural Architecture Search with Uniform Sampling", section 4.

    Labels: `layer_1` to `layer_20`, the kind of each block: a kernel of 3, 5 or 7, or the Xception-like block; and with
    `channel_search` also `channel_1` to `channel_20`, the channels in the middle of each block.

    The paper's networks take images in BGR order with values 0..255, not normalised.

    Args:
        num_labels: Number of classes.
        channel_search: Whether the middle channels of a block are chosen, from 0.2 to 1.6 times half of its output channels, in
            steps of 0.2; False has half of the output channels.
        affine: Whether the batch norms after the stem have weights and biases; the paper's supernet has none.

    Shapes of the network:
        forward: x (batch, 3, height, width) float32 -> logits (batch, num_labels).

    Raises:
        SpaceError: `num_labels` is below 1.
    """

    num_labels: int = 1000
    channel_search: bool = False
    affine: bool = True

    paper: ClassVar[str] = "https://arxiv.org/abs/1904.00420"

    def build(self, pick: Picker) -> nn.Module:
        blocks: list[nn.Module] = []
        c_in = STEM
        for repeats, c_out in STAGES:
            for i in range(repeats):
                blocks.append(self._block(pick, len(blocks) + 1, c_in, c_out, stride=2 if i == 0 else 1))
                c_in = c_out
        net = ShuffleNet(blocks, c_in, self.num_labels, self.affine)
        _init_weights(net)
        return net

    def _block(self, pick: Picker, place: int, c_in: int, c_out: int, *, stride: int) -> nn.Module:
        def candidate(make: Callable[..., ShuffleBlock]) -> ShuffleBlock:
            # Inside the candidate, because in NNI's order of labels the layer is first.
            c_mid = pick(f"channel_{place}", _middle_widths(c_out // 2)) if self.channel_search else c_out // 2
            return make(c_in, c_mid, c_out, stride=stride, affine=self.affine)

        kinds = {f"k{kernel}": partial(shuffle_block, kernel=kernel) for kernel in (3, 5, 7)} | {"xcep": xception_block}
        return pick.layer(f"layer_{place}", {name: partial(candidate, make) for name, make in kinds.items()})


class ShuffleNet(nn.Module):
    """The network of one arch of ShuffleNetSpace; its keys are NNI's."""

    def __init__(self, blocks: list[nn.Module], c_features: int, num_labels: int, affine: bool) -> None:
        super().__init__()
        conv = ConvStyle().conv
        self.first_conv = nn.Sequential(conv(3, STEM, 3, stride=2), batch_norm(STEM), nn.ReLU(inplace=True))
        self.features = nn.Sequential(*blocks)
        self.conv_last = nn.Sequential(conv(c_features, LAST), batch_norm(LAST, affine=affine), nn.ReLU(inplace=True))
        self.globalpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Sequential(bare(nn.Linear, LAST, num_labels, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.conv_last(self.features(self.first_conv(x)))
        return self.classifier(self.dropout(self.globalpool(features).flatten(1)))


def _middle_widths(base: int) -> tuple[int, ...]:
    # The order of the multiplications decides what int() makes of their rounding: NNI's.
    return tuple(int(base * (0.2 * k)) for k in range(1, 9))


def _init_weights(net: ShuffleNet) -> None:
    """Normal weights, with 1 / (input channels) as deviation, and 0.01 in stem and classifier: the code of the paper."""
    if net.first_conv[0].weight.is_meta:  # type: ignore[union-attr]
        return  # There are no values to fill, and torch takes as long to notice.
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            init_normal(module.weight, std=1.0 / module.weight.shape[1])
        elif isinstance(module, nn.Linear):
            init_normal(module.weight, std=0.01)
        elif isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.constant_(module.bias, 1e-4)
    init_normal(net.first_conv[0].weight, std=0.01)  # type: ignore[arg-type]
