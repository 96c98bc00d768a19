"""Blocks of ShuffleNetV2: half of the channels passes by, the other half is worked on, and the next block swaps neighbours."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from hubserve.blocks.conv import ConvStyle
from hubserve.blocks.fast_layers import batch_norm
from hubserve.errors import SpaceError


def shuffle_block(c_in: int, c_mid: int, c_out: int, kernel: int, *, stride: int = 1, affine: bool = True) -> ShuffleBlock:
    """ShuffleNetV2's unit (Ma et al. 2018, figure 3, https://arxiv.org/abs/1807.11164): 1x1, depthwise, 1x1.

    Args:
        c_in: channels of the input; even at stride 1, where half of them passes by.
        c_mid: channels of the depthwise convolution.
        c_out: channels of the output, more than those that pass by.
        kernel: height and width of the depthwise kernel, odd.
        stride: 1, or 2 to halve height and width.
        affine: whether batch norms have weights and biases.

    Raises:
        SpaceError: channels or stride do not fit.
    """
    passing = _passing(c_in, c_out, stride)
    main = [
        *_pointwise(passing, c_mid, affine),
        *_depthwise(c_mid, kernel, stride, affine),
        *_pointwise(c_mid, c_out - passing, affine),
    ]
    return ShuffleBlock(main, _projection(passing, kernel, stride, affine))


def xception_block(c_in: int, c_mid: int, c_out: int, *, stride: int = 1, affine: bool = True) -> ShuffleBlock:
    """The "choice x" of Guo et al. 2020 (section 4, https://arxiv.org/abs/1904.00420): three times depthwise 3x3, then 1x1.

    Arguments and errors are those of `shuffle_block`; only the first depthwise convolution has the stride.
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
    """Two branches side by side. At stride 1 the first takes every other channel and leaves it as it is.

    Taking every other channel is the channel shuffle of the block before, put off to where it costs nothing.

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
    """Channels of the first branch."""
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
