"""The operations of NAS-BERT: self-attention, a feed-forward layer and separable convolutions, each followed by layer norm.

Each is called with the tokens and with a mask of those that are no padding. The output of a token does not depend on how much
padding follows the sequence. Xu et al. 2021, "NAS-BERT", https://arxiv.org/abs/2105.14444, table 1; details of which the paper
does not give are those of the implementation in ML.NET.
"""

import torch
from torch import nn
from torch.nn import functional

from hubserve.blocks.fast_init import init_normal
from hubserve.blocks.fast_layers import bare, layer_norm
from hubserve.blocks.masked_attention import MaskedSelfAttention
from hubserve.blocks.sequences import SeparableConv1d


class PostNormAttention(nn.Module):
    """Returns layer_norm(x + attention(x)).

    Args:
        dim: Number of channels of the tokens.
        head_dim: Number of channels of a head.
        dropout: Dropout probability of the output of the attention.
        attention_dropout: Dropout probability of attention weights.

    Shapes:
        forward: x (batch, tokens, dim) and keep (batch, tokens), False for padding -> (batch, tokens, dim).

    Raises:
        SpaceError: `head_dim` does not divide `dim`.
    """

    def __init__(self, dim: int, *, head_dim: int, dropout: float = 0.0, attention_dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = MaskedSelfAttention(dim, head_dim=head_dim, dropout=attention_dropout)
        self.dropout = nn.Dropout(dropout)
        self.norm = layer_norm(dim)

    def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        return self.norm(x + self.dropout(self.attention(x, keep)))


class PostNormFeedForward(nn.Module):
    """Returns layer_norm(x + linear(gelu(linear(x)))), with four times as many channels between the linear layers.

    Args:
        dim: Number of channels of the tokens.
        dropout: Dropout probability of the output of the second linear layer.

    Shapes:
        forward: x (batch, tokens, dim) and keep (batch, tokens), which is not used -> (batch, tokens, dim).
    """

    def __init__(self, dim: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = normal_linear(dim, 4 * dim)
        self.fc2 = normal_linear(4 * dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.norm = layer_norm(dim)

    def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        return self.norm(x + self.dropout(self.fc2(functional.gelu(self.fc1(x)))))


class PostNormConvolutions(nn.Module):
    """Applies x -> layer_norm(x + gelu(separable_convolution(x))) twice; the convolutions read 0 in place of padding.

    Args:
        dim: Number of channels of the tokens.
        kernel: Number of tokens that a convolution sees, odd.
        dropout: Dropout probability after each GELU.

    Shapes:
        forward: x (batch, tokens, dim) and keep (batch, tokens), False for padding -> (batch, tokens, dim).

    Raises:
        SpaceError: `kernel` is even.
    """

    def __init__(self, dim: int, *, kernel: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv1 = SeparableConv1d(dim, kernel, dropout=dropout, depthwise_bias=True)
        self.norm1 = layer_norm(dim)
        self.conv2 = SeparableConv1d(dim, kernel, dropout=dropout, depthwise_bias=True)
        self.norm2 = layer_norm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        kept = keep.unsqueeze(-1).to(x.dtype)
        x = self.norm1(x + self._convolve(self.conv1, x * kept))
        return self.norm2(x + self._convolve(self.conv2, x * kept))

    def _convolve(self, convolution: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """Returns the output of `convolution` after GELU and dropout, (batch, tokens, dim), as `x` is."""
        return self.dropout(functional.gelu(convolution(x.transpose(1, 2)).transpose(1, 2)))


def normal_linear(n_in: int, n_out: int) -> nn.Linear:
    """Returns a linear layer with weights from a normal distribution with standard deviation 0.02, and biases of 0."""
    layer = bare(nn.Linear, n_in, n_out, fill={"bias": 0.0})
    init_normal(layer.weight, std=0.02)
    return layer
