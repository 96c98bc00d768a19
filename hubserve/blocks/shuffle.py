"""Blocks of ShuffleNetV2: at stride 1, half of the channels is passed through, the other half convolved."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from hubserve.blocks.conv import ConvStyle
from hubserve.blocks.fast_layers import batch_norm
from hubserve.errors import SpaceError


def shuffle_block(c_in: int, c_mid: int, c_out: int, kernel: int, *, stride: int = 1, affine: bool = True) -> ShuffleBlock:
    """Returns ShuffleNetV2's block of a 1x1, a depthwise and a 1x1 convolution (Ma et al. 2018, figure 3).

    The paper is https://arxiv.org/abs/1807.11164. Weights of convolutions are not initialised.

    Args:
        c_in: Number of channels of the input; even at stride 1, where half of them is passed through.
        c_mid: Number of channels of the depthwise convolution.
        c_out: Number of channels of the output; more than `c_in / 2` at stride 1, and more than `c_in` at stride 2.
        kernel: Height and width of the depthwise kernel, odd.
        stride: 1, or 2 to halve height and width.
        affine: Whether batch norms have weights and biases.

    Raises:
        SpaceError: `c_in` is odd at stride 1, `c_out` is too small, `kernel` is even, or `stride` is neither 1 nor 2.
    """
    passing = _passing(c_in, c_out, stride)
    main = [
        *_pointwise(passing, c_mid, affine),
        *_depthwise(c_mid, kernel, stride, affine),
        *_pointwise(c_mid, c_out - passing, affine),
    ]
    return ShuffleBlock(main, _projection(passing, kernel, stride, affine))


def xception_block(c_in: int, c_mid: int, c_out: int, *, stride: int = 1, affine: bool = True) -> ShuffleBlock:
    """Returns a block of three pairs of a depthwise 3x3 and a 1x1 convolution, "choice x" of Guo et al. 2020 (section 4).

    The paper is https://arxiv.org/abs/1904.00420. Arguments and errors are those of `shuffle_block`; `c_mid` is the number of
    channels between the pairs, and only the first depthwise convolution of a branch has the stride.
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
    """A block of ShuffleNetV2, which concatenates the outputs of two branches along the channels.

    Without `projection` (stride 1), the channels with even indices are passed through unchanged, and those with odd indices go
    through `main`. With `projection` (stride 2), all channels go through both branches. Taking every second channel has
    the effect of the channel shuffle of the paper, without a copy. State dict keys are NNI's.

    Args:
        main: Layers of the second branch.
        projection: Layers of the first branch at stride 2; empty at stride 1, where that branch is the identity.

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
    """Returns the number of input channels of each branch; arguments and errors are those of `shuffle_block`."""
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
    """Returns the layers of the first branch: none at stride 1, a depthwise and a 1x1 convolution at stride 2."""
    if stride == 1:
        return []
    return [*_depthwise(channels, kernel, stride, affine), *_pointwise(channels, channels, affine)]


def _depthwise(channels: int, kernel: int, stride: int, affine: bool) -> list[nn.Module]:
    """Returns a depthwise convolution and batch norm."""
    conv = ConvStyle().conv(channels, channels, kernel, stride=stride, groups=channels)
    return [conv, batch_norm(channels, affine=affine)]


def _pointwise(c_in: int, c_out: int, affine: bool) -> list[nn.Module]:
    """Returns a 1x1 convolution, batch norm and ReLU."""
    return [ConvStyle().conv(c_in, c_out), batch_norm(c_out, affine=affine), nn.ReLU(inplace=True)]
