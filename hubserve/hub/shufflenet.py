"""The model space ShuffleNetSpace: a chain of twenty shuffle blocks, each of one of four kinds (Single Path One-Shot)."""

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
"""(number of blocks, number of output channels) of each stage; the first block of a stage halves height and width."""

STEM, LAST = 16, 1024
"""Numbers of output channels of the first and of the last convolution of the network."""


@dataclass(frozen=True)
class ShuffleNetSpace(HubSpace):
    """The model space of "Single Path One-Shot Neural Architecture Search with Uniform Sampling" (Guo et al. 2020, section 4).

    The labels of its choices are `layer_1` to `layer_20`, the kind of each block: "k3", "k5" or "k7" for its kernel size, or
    "xcep" for an Xception-like block. With `channel_search` there are also `channel_1` to `channel_20`, the number of channels
    in the middle of each block.

    The networks of the paper expect images with channels in the order BGR and values from 0 to 255, without normalisation.

    Args:
        num_labels: Number of classes.
        channel_search: Whether the number of middle channels of each block is searched. The candidates are 0.2, 0.4, ..., 1.6
            times half of the block's output channels; False fixes it to half of the output channels.
        affine: Whether the batch norms, other than that of the stem, have weights and biases; in the paper's supernet they do
            not.

    Shapes of the network:
        forward: x (batch, 3, height, width) float32 -> logits (batch, num_labels).

    Raises:
        SpaceError: `num_labels` is below 1.
    """

    num_labels: int = 1000
    channel_search: bool = False
    affine: bool = True

    channels_last: ClassVar[bool] = True
    paper: ClassVar[str] = "https://arxiv.org/abs/1904.00420"

    def build(self, pick: Picker) -> nn.Module:
        """Returns the initialised network with the values that `pick` chooses for the labels."""
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
        """Returns the block number `place`, from 1 to 20, of the kind that `pick` chooses."""

        def candidate(make: Callable[..., ShuffleBlock]) -> ShuffleBlock:
            # Here and not before `pick.layer`, because in NNI's order of labels `layer_i` precedes `channel_i`.
            c_mid = pick(f"channel_{place}", _middle_widths(c_out // 2)) if self.channel_search else c_out // 2
            return make(c_in, c_mid, c_out, stride=stride, affine=self.affine)

        kinds = {f"k{kernel}": partial(shuffle_block, kernel=kernel) for kernel in (3, 5, 7)} | {"xcep": xception_block}
        return pick.layer(f"layer_{place}", {name: partial(candidate, make) for name, make in kinds.items()})


class ShuffleNet(nn.Module):
    """The network of one arch of ShuffleNetSpace; the keys of its state dict are those of NNI.

    Args:
        blocks: The twenty shuffle blocks.
        c_features: Number of output channels of the last block.
        num_labels: Number of classes.
        affine: Whether the batch norm of the last convolution has weights and biases.

    Shapes:
        forward: x (batch, 3, height, width) -> logits (batch, num_labels).
    """

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
    """Returns 0.2, 0.4, ..., 1.6 times `base`, rounded down as NNI does."""
    # Another order of the multiplications would give other rounding errors, and thus other integers than in NNI.
    return tuple(int(base * (0.2 * k)) for k in range(1, 9))


def _init_weights(net: ShuffleNet) -> None:
    """Initialises the network in place as the reference code of the paper does.

    Weights are drawn from a normal distribution with mean 0; the standard deviation is 0.01 for the first convolution and the
    classifier, and 1 / (second size of the weight tensor) for other convolutions. The biases of the batch norms are set to
    1e-4.
    """
    if net.first_conv[0].weight.is_meta:  # type: ignore[union-attr]
        return  # Tensors on the meta device have no values, and initialising them would only take time.
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            init_normal(module.weight, std=1.0 / module.weight.shape[1])
        elif isinstance(module, nn.Linear):
            init_normal(module.weight, std=0.01)
        elif isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.constant_(module.bias, 1e-4)
    init_normal(net.first_conv[0].weight, std=0.01)  # type: ignore[arg-type]
