"""Self-attention over sequences that are padded at their end (`MaskedSelfAttention`)."""

import torch
from torch import nn

from hubserve.blocks.fast_init import init_uniform
from hubserve.blocks.fast_layers import bare
from hubserve.errors import SpaceError


class MaskedSelfAttention(nn.Module):
    """Multi-head self-attention over the tokens that are no padding.

    Args:
        dim: Number of channels of the tokens; `head_dim` must divide it.
        head_dim: Number of channels of a head.
        bias: Whether the four linear layers have biases, which are 0 at first.
        dropout: Dropout probability of attention weights.

    Shapes:
        forward: x (batch, tokens, dim) and keep (batch, tokens) bool, False for padding -> (batch, tokens, dim); the outputs of
            padding mean nothing.

    Raises:
        SpaceError: `head_dim` does not divide `dim`.
    """

    def __init__(self, dim: int, *, head_dim: int, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % head_dim:
            raise SpaceError(f"heads of {head_dim} channels do not divide {dim} channels")
        self.head_dim = head_dim
        self.n_heads = dim // head_dim
        self.q, self.k, self.v = (xavier_linear(dim, dim, gain=0.5**0.5, bias=bias) for _ in range(3))
        self.out = xavier_linear(dim, dim, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        q = self._heads(self.q(x)) * self.head_dim**-0.5
        scores = q @ self._heads(self.k(x)).transpose(2, 3)
        # The lowest number rather than minus infinity, with which a row of padding only would be NaN.
        scores = scores.masked_fill(~keep[:, None, None, :], torch.finfo(scores.dtype).min)
        heads = self.dropout(scores.softmax(-1)) @ self._heads(self.v(x))
        return self.out(heads.transpose(1, 2).flatten(2))

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        """Splits the channels by head: (batch, tokens, heads * head_dim) -> (batch, heads, tokens, head_dim)."""
        return x.view(x.shape[0], x.shape[1], self.n_heads, self.head_dim).transpose(1, 2)


def xavier_linear(n_in: int, n_out: int, *, gain: float = 1.0, bias: bool = True) -> nn.Linear:
    """Returns a linear layer with weights uniform in +-gain * sqrt(6 / (n_in + n_out)), and biases of 0 or none."""
    layer = bare(nn.Linear, n_in, n_out, bias=bias, fill={"bias": 0.0})
    init_uniform(layer.weight, bound=gain * (6 / (n_in + n_out)) ** 0.5)
    return layer
