"""Blocks of ShuffleNetV2: one half of the channels is copied, the other half is convolved, and both are shuffled."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from hubserve.blocks.conv import ConvStyle
from hubserve.blocks.fast_layers import batch_norm
from hubserve.errors import SpaceError


def shuffle_block(c_in: int, c_mid: int, c_out: int, kernel: int, *, stride: int = 1, affine: bool = True) -> ShuffleBlock:
    """ShuffleNetV2's unit: 1x1, depthwise and 1x1 convolution (Ma et al. 2018, figure 3, https://arxiv.org/abs/1807.11164).

    Args:
        c_in: Number of channels of the input; even at stride 1, where half of them is copied.
        c_mid: Number of channels of the depthwise convolution.
        c_out: Number of channels of the output; more than `c_in / 2` at stride 1, and more than `c_in` at stride 2.
        kernel: Height and width of the depthwise kernel, odd.
        stride: 1, or 2 to halve height and width.
        affine: Whether batch norms have weights and biases.

    Raises:
        SpaceError: `c_in`, `c_out`, `kernel` or `stride` is not allowed.
    """
    passing = _passing(c_in, c_out, stride)
    main = [
        *_pointwise(passing, c_mid, affine),
        *_depthwise(c_mid, kernel, stride, affine),
        *_pointwise(c_mid, c_out - passing, affine),
    ]
    return ShuffleBlock(main, _projection(passing, kernel, stride, affine))


def xception_block(c_in: int, c_mid: int, c_out: int, *, stride: int = 1, affine: bool = True) -> ShuffleBlock:
    """Three times a depthwise 3x3 and a 1x1 convolution: "choice x" of Guo et al. 2020 (section 4).

    The paper is https://arxiv.org/abs/1904.00420. Arguments and errors are those of `shuffle_block`; only the first depthwise
    convolution has the stride.
    """
    passing = _passing(c_in, c_out, stride)
    main = [
        *_depthwise(passing, 3, stride, affine),
        *_pointwise(passing, c_mid, affine),
        *_depthwise(c_mid, 3, 1, affine),
        *_pointwise(c_mid, c_mid, affine),
        *_depthwise(c_mid, 3, 1, affine),
        *_pointwise(c_mid, c_out - passing, affine),
    ]
    return ShuffleBlock(main, _projection(passing, 3, stride, affine))


class ShuffleBlock(nn.Module):
    """Concatenates the outputs of two branches along the channels; a ShuffleNet V2 block.

    Without `projection` (stride 1), the channels with even indices are passed through unchanged, and those with odd indices go
    through `main`. With `projection` (stride 2), all channels go through both branches. Taking every second channel does
    what the channel shuffle at the end of the previous block does in the paper, without a copy. State dict keys are NNI's.

    Args:
        main: Layers of the second branch.
        projection: Layers of the first branch at stride 2; empty at stride 1, where that branch changes nothing.

    Shapes:
        forward: x (batch, c_in, height, width) -> (batch, c_out, ceil(height / stride), ceil(width / stride)).
    """

    def __init__(self, main: Iterable[nn.Module], projection: Iterable[nn.Module]) -> None:
        super().__init__()
        self.branch_main = nn.Sequential(*main)
        self.branch_proj = nn.Sequential(*projection)
        self.splits = len(self.branch_proj) == 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.splits:
            return torch.cat([x[:, 0::2], self.branch_main(x[:, 1::2])], 1)
        return torch.cat([self.branch_proj(x), self.branch_main(x)], 1)


def _passing(c_in: int, c_out: int, stride: int) -> int:
    """Number of channels of the first branch's input; raises SpaceError where channels or stride do not fit."""
    if stride not in (1, 2):
        raise SpaceError(f"a shuffle block has stride 1 or 2, not {stride}")
    if stride == 1 and c_in % 2:
        raise SpaceError(f"a shuffle block of stride 1 halves its input channels, and {c_in} is odd")
    passing = c_in if stride == 2 else c_in // 2
    if c_out <= passing:
        raise SpaceError(
            f"a shuffle block with {c_in} input channels at stride {stride} needs more than {passing} output "
            f"channels, found {c_out}"
        )
    return passing


def _projection(channels: int, kernel: int, stride: int, affine: bool) -> list[nn.Module]:
    if stride == 1:
        return []
    return [*_depthwise(channels, kernel, stride, affine), *_pointwise(channels, channels, affine)]


def _depthwise(channels: int, kernel: int, stride: int, affine: bool) -> list[nn.Module]:
    conv = ConvStyle().conv(channels, channels, kernel, stride=stride, groups=channels)
    return [conv, batch_norm(channels, affine=affine)]


def _pointwise(c_in: int, c_out: int, affine: bool) -> list[nn.Module]:
    return [ConvStyle().conv(c_in, c_out), batch_norm(c_out, affine=affine), nn.ReLU(inplace=True)]
