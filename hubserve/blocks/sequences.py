"""Layers for batches of sequences that are padded at their end: separable convolutions, running positions, sinusoids."""

import math

import torch
from torch import nn

from hubserve.blocks.fast_init import init_normal
from hubserve.blocks.fast_layers import bare
from hubserve.errors import SpaceError


class SeparableConv1d(nn.Module):
    """A depthwise convolution along the steps of a sequence, followed by a pointwise one; the number of steps is kept.

    Weights are initialised from normal distributions with standard deviation sqrt(4 * (1 - dropout) / (kernel * dim)), as by
    LightSpeech and NAS-BERT, and biases are 0.

    Args:
        dim: Number of channels.
        kernel: Length of the kernel, odd.
        dropout: Dropout probability that follows in the network; it only affects the initial weights.
        depthwise_bias: Whether the depthwise convolution has a bias; the pointwise one always has.

    Shapes:
        forward: x (batch, dim, steps) -> the same shape.

    Raises:
        SpaceError: `kernel` is even.
    """

    def __init__(self, dim: int, kernel: int, *, dropout: float = 0.0, depthwise_bias: bool = False) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise SpaceError(f"a kernel of {kernel} steps is even, so that the number of steps would change; give an odd one")
        zero = {"bias": 0.0}
        same = {"padding": kernel // 2, "groups": dim}
        self.depthwise_conv = bare(nn.Conv1d, dim, dim, kernel, bias=depthwise_bias, fill=zero, **same)
        self.pointwise_conv = bare(nn.Conv1d, dim, dim, 1, fill=zero)
        std = math.sqrt(4 * (1 - dropout) / (kernel * dim))
        init_normal(self.depthwise_conv.weight, std=std)
        init_normal(self.pointwise_conv.weight, std=std)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pointwise_conv(self.depthwise_conv(x))


def running_positions(keep: torch.Tensor) -> torch.Tensor:
    """Returns the position of each step among the steps that are kept, counted from 1; 0 for the others.

    Args:
        keep: True for the steps of a sequence and False for padding, (batch, steps).

    Returns:
        An int64 tensor (batch, steps).
    """
    kept = keep.long()
    return kept.cumsum(1) * kept


def sinusoids(positions: torch.Tensor, dim: int) -> torch.Tensor:
    """Returns the position embeddings of Vaswani et al. 2017 with the sines in the first half of the channels.

    The frequencies are exp(-i * ln(10000) / (dim / 2 - 1)) for i from 0, as in fairseq. Position 0, which is padding, is 0.
    Like fairseq's table they are computed in float32, whatever the precision of the network.

    Args:
        positions: Positions (batch, steps), int64.
        dim: Number of channels, even and at least 4.

    Returns:
        A float32 tensor (batch, steps, dim).
    """
    half = dim // 2
    rate = -(math.log(10000.0) / (half - 1))
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32, device=positions.device) * rate)
    angles = positions.to(torch.float32).unsqueeze(-1) * frequencies
    found = torch.cat([angles.sin(), angles.cos()], -1)
    return found * (positions > 0).to(torch.float32).unsqueeze(-1)
