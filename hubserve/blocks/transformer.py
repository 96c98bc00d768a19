"""Class token, position embedding and encoder layer of a vision transformer (Dosovitskiy et al. 2021)."""

import torch
from torch import nn
from torch.nn import functional

from hubserve.blocks.attention import fresh_parameter
from hubserve.blocks.drop_path import drop_path
from hubserve.blocks.fast_layers import layer_norm, linear
from hubserve.errors import SpaceError


class ClassToken(nn.Module):
    """A learned token that is put before all others, and from which a classifier may read.

    Args:
        dim: Number of channels of the tokens.

    Shapes:
        forward: x (batch, tokens, dim) -> (batch, 1 + tokens, dim).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.cls_token = fresh_parameter(1, 1, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1)


class PositionEmbedding(nn.Module):
    """A learned vector for each position in the sequence of tokens, which is added to the token.

    Args:
        tokens: Length of the sequence.
        dim: Number of channels of the tokens.

    Shapes:
        forward: x (batch, tokens, dim) -> the same shape.
    """

    def __init__(self, tokens: int, dim: int) -> None:
        super().__init__()
        self.pos_embed = fresh_parameter(1, tokens, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.pos_embed


class EncoderLayer(nn.Module):
    """A transformer's encoder layer: attention, then two linear layers with GELU, each with a skip connection.

    >>> layer = EncoderLayer(RelativePositionAttention(192, 3, grid=(14, 14)), 192, 768)

    Args:
        attention: Module (batch, tokens, dim) -> the same shape.
        dim: Number of channels of the tokens.
        hidden: Number of channels between the two linear layers.
        dropout: Dropout probability after the attention and after each linear layer.
        drop_path_prob: Probability in [0, 1) with which a sample skips a branch in training.
        pre_norm: Whether layer norm is at the beginning of each branch, as in ViT; False puts it after each sum (Vaswani et al.
            2017).

    Shapes:
        forward: x (batch, tokens, dim) -> the same shape.

    Raises:
        SpaceError: `hidden` is below 1, or `drop_path_prob` not in [0, 1).
    """

    def __init__(
        self,
        attention: nn.Module,
        dim: int,
        hidden: int,
        *,
        dropout: float = 0.0,
        drop_path_prob: float = 0.0,
        pre_norm: bool = True,
    ) -> None:
        super().__init__()
        if hidden < 1 or not 0.0 <= drop_path_prob < 1.0:
            raise SpaceError(
                f"an encoder layer needs hidden >= 1 and 0 <= drop_path_prob < 1, found {hidden} and {drop_path_prob}"
            )
        self.pre_norm = pre_norm
        self.drop_path_prob = drop_path_prob
        self.attn = attention
        self.attn_layer_norm = layer_norm(dim)
        self.ffn_layer_norm = layer_norm(dim)
        self.fc1 = linear(dim, hidden)
        self.fc2 = linear(hidden, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.pre_norm:
            x = x + self._attend(self.attn_layer_norm(x))
            return x + self._transform(self.ffn_layer_norm(x))
        x = self.attn_layer_norm(x + self._attend(x))
        return self.ffn_layer_norm(x + self._transform(x))

    def _attend(self, x: torch.Tensor) -> torch.Tensor:
        return self._drop_path(self.dropout(self.attn(x)))

    def _transform(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.dropout(functional.gelu(self.fc1(x)))
        return self._drop_path(self.dropout(self.fc2(hidden)))

    def _drop_path(self, x: torch.Tensor) -> torch.Tensor:
        return drop_path(x, self.drop_path_prob) if self.training and self.drop_path_prob > 0.0 else x
