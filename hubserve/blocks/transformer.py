"""Layers of a vision transformer (Dosovitskiy et al. 2021): class token, position embedding and encoder layer."""

import torch
from torch import nn
from torch.nn import functional

from hubserve.blocks.attention import fresh_parameter
from hubserve.blocks.drop_path import drop_path
from hubserve.blocks.fast_layers import layer_norm, linear
from hubserve.errors import SpaceError


class ClassToken(nn.Module):
    """Prepends a learned token to each sequence of tokens; a classifier may read the output at its position.

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
    """Adds to each token a learned vector for its position in the sequence.

    Args:
        tokens: Number of tokens of a sequence, including the class token if there is one.
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
    """An encoder layer of a transformer: an attention branch, then a branch of two linear layers with GELU between them.

    The output of each branch is added to its input.

    >>> layer = EncoderLayer(RelativePositionAttention(192, 3, grid=(14, 14)), 192, 768)

    Args:
        attention: Module of the attention branch, (batch, tokens, dim) -> the same shape.
        dim: Number of channels of the tokens.
        hidden: Number of channels between the two linear layers.
        dropout: Dropout probability after the attention, after the GELU and after the second linear layer.
        drop_path_prob: Probability in [0, 1) with which the output of a branch is set to zero for a sample in training.
        pre_norm: If True, layer norm is the first layer of each branch, as in ViT. If False, it is applied to each sum, as by
            Vaswani et al. 2017.

    Shapes:
        forward: x (batch, tokens, dim) -> the same shape.

    Raises:
        SpaceError: `hidden` is below 1, or `drop_path_prob` is not in [0, 1).
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
        """Returns the output of the attention branch, without layer norm and skip connection."""
        return self._drop_path(self.dropout(self.attn(x)))

    def _transform(self, x: torch.Tensor) -> torch.Tensor:
        """Returns the output of the branch of linear layers, without layer norm and skip connection."""
        hidden = self.dropout(functional.gelu(self.fc1(x)))
        return self._drop_path(self.dropout(self.fc2(hidden)))

    def _drop_path(self, x: torch.Tensor) -> torch.Tensor:
        """Returns `x` with drop path applied in training, and `x` itself in evaluation."""
        return drop_path(x, self.drop_path_prob) if self.training and self.drop_path_prob > 0.0 else x
