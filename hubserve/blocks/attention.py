"""Self-attention over the patches of an image, with learned embeddings of the distance between two patches (AutoFormer)."""

import torch
from torch import nn
from torch.nn import functional

from hubserve.blocks.fast_init import init_normal
from hubserve.blocks.fast_layers import linear
from hubserve.errors import SpaceError

MAX_DISTANCE = 14
"""Largest distance in rows or columns that has an embedding of its own; longer distances share it. AutoFormer's value."""


class RelativePosition2D(nn.Module):
    """A learned vector for each pair of tokens, which depends on how many rows and columns the key is from the query.

    The vector of a pair is the sum of two table rows, one for the vertical and one for the horizontal distance. Row 0 of both
    tables is for pairs with the class token; rows 1 to 2 * max_distance + 1 are for the distances -max_distance to max_distance
    of the key from the query. Longer distances use the row of `max_distance` or of -`max_distance`. Shaw et al. 2018
    (https://arxiv.org/abs/1803.02155), in two dimensions as in AutoFormer (Chen et al. 2021).

    Args:
        dim: Length of a vector.
        max_distance: Largest distance with an embedding of its own; 14 is enough for a grid of 14 x 14 patches.

    Raises:
        SpaceError: `dim` or `max_distance` is below 1.
    """

    def __init__(self, dim: int, *, max_distance: int = MAX_DISTANCE) -> None:
        super().__init__()
        if dim < 1 or max_distance < 1:
            raise SpaceError(f"relative positions need dim >= 1 and max_distance >= 1, found {dim} and {max_distance}")
        self.max_distance = max_distance
        self.embeddings_table_v = fresh_parameter(2 * max_distance + 2, dim)
        self.embeddings_table_h = fresh_parameter(2 * max_distance + 2, dim)

    def forward(self, n_rows: int, n_columns: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns the row part and the column part of the vectors of all pairs of patches, and the vector of the class token.

        The vector of a pair of patches is the sum of its row part and its column part.

        Returns:
            The row part by row of the query and row of the key, (n_rows, n_rows, dim); the column part by column of the query
            and column of the key, (n_columns, n_columns, dim); and the vector of every pair with the class token, (dim,).
        """
        by_row = self._between(self.embeddings_table_v, n_rows)
        by_column = self._between(self.embeddings_table_h, n_columns)
        return by_row, by_column, self.embeddings_table_v[0] + self.embeddings_table_h[0]

    def _between(self, table: torch.Tensor, places: int) -> torch.Tensor:
        """Returns the row of `table` for each pair (query, key) of `places` rows or columns: (places, places, dim)."""
        # The indices are computed in each call. A buffer for them would be missing from the state dicts of NNI's weights, and
        # would have no values on the meta device.
        place = torch.arange(places, device=table.device)
        distance = (place.unsqueeze(0) - place.unsqueeze(1)).clamp(-self.max_distance, self.max_distance)
        return table[distance + (self.max_distance + 1)]


class RelativePositionAttention(nn.Module):
    """Multi-head self-attention over a class token and a grid of patches, with relative positions on keys and values.

    The score of a query q and a key k is scale * q·(k + r). The output of a head is the mean of v + r' over the tokens,
    weighted by the softmax of the scores. r and r' are the vectors of two `RelativePosition2D`, which all heads share
    (AutoFormer, Chen et al. 2021, https://arxiv.org/abs/2107.00651). q·r is computed from the row part and the column part of
    r, without a tensor of the vectors of all pairs. NNI builds that tensor; the outputs are equal up to rounding.

    >>> attention = RelativePositionAttention(192, 3, grid=(14, 14))
    >>> attention(torch.zeros(2, 197, 192)).shape
    torch.Size([2, 197, 192])

    Args:
        dim: Number of channels of the tokens.
        n_heads: Number of heads; `n_heads * head_dim` may differ from `dim`.
        grid: Number of rows and number of columns of patches.
        head_dim: Number of channels of a head.
        qkv_bias: Whether queries, keys and values have a bias.
        qk_scale: Factor by which scores are multiplied; None means head_dim ** -0.5.
        attn_drop: Dropout probability of attention weights.
        proj_drop: Dropout probability of output values.
        relative: If False, there are no relative positions: r and r' are left out, and the module has no tables for them.
        max_distance: Largest distance with an embedding of its own, in rows or columns; unused if `relative` is False.

    Shapes:
        forward: x (batch, 1 + rows * columns, dim), the class token first, then the patches row by row -> the same shape.

    Raises:
        SpaceError: `dim`, `n_heads`, `head_dim` or a side of `grid` is below 1; or `max_distance` is, and `relative` is True.
    """

    def __init__(
        self,
        dim: int,
        n_heads: int,
        *,
        grid: tuple[int, int],
        head_dim: int = 64,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        relative: bool = True,
        max_distance: int = MAX_DISTANCE,
    ) -> None:
        super().__init__()
        if min(dim, n_heads, head_dim, *grid) < 1:
            raise SpaceError(
                f"attention needs dim, n_heads, head_dim and both sides of grid of at least 1; found {dim}, {n_heads}, "
                f"{head_dim} and {grid}"
            )
        self.n_heads = n_heads
        self.head_dim = head_dim
        self.n_rows, self.n_columns = grid
        self.scale = head_dim**-0.5 if qk_scale is None else qk_scale
        inner = n_heads * head_dim
        self.q = linear(dim, inner, bias=qkv_bias)
        self.k = linear(dim, inner, bias=qkv_bias)
        self.v = linear(dim, inner, bias=qkv_bias)
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = linear(inner, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        self.rel_pos_embed_k = RelativePosition2D(head_dim, max_distance=max_distance) if relative else None
        self.rel_pos_embed_v = RelativePosition2D(head_dim, max_distance=max_distance) if relative else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = self._heads(self.q(x)) * self.scale
        v = self._heads(self.v(x))
        scores = q @ self._heads(self.k(x)).transpose(2, 3)
        if self.rel_pos_embed_k is not None:
            scores = scores + self._relative_scores(q, *self.rel_pos_embed_k(self.n_rows, self.n_columns))
        weights = self.attn_drop(scores.softmax(-1))
        heads = weights @ v
        if self.rel_pos_embed_v is not None:
            heads = heads + self._relative_values(weights, *self.rel_pos_embed_v(self.n_rows, self.n_columns))
        return self.proj_drop(self.proj(heads.transpose(1, 2).flatten(2)))

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        """Splits the channels of `x` by head: (batch, tokens, heads * head_dim) -> (batch, heads, tokens, head_dim)."""
        return x.view(x.shape[0], x.shape[1], self.n_heads, self.head_dim).transpose(1, 2)

    def _relative_scores(
        self, q: torch.Tensor, by_row: torch.Tensor, by_column: torch.Tensor, with_class: torch.Tensor
    ) -> torch.Tensor:
        """Returns q·r for all pairs of tokens, (batch, heads, tokens, tokens); it is 0 where the query is the class token.

        Args:
            q: Scaled queries, (batch, heads, tokens, head_dim).
            by_row: First result of `RelativePosition2D`.
            by_column: Second result of `RelativePosition2D`.
            with_class: Third result of `RelativePosition2D`.
        """
        patches = q[:, :, 1:].reshape(q.shape[0], self.n_heads, self.n_rows, self.n_columns, self.head_dim)
        rows = patches @ by_row.transpose(1, 2)
        columns = (patches.transpose(2, 3) @ by_column.transpose(1, 2)).transpose(2, 3)
        between_patches = (rows.unsqueeze(5) + columns.unsqueeze(4)).flatten(4).flatten(2, 3)
        to_class = (patches * with_class).sum(4).flatten(2).unsqueeze(3)
        # For the class token as query, q·r is the same number for every key. Softmax does not change if 0 is used instead.
        return functional.pad(torch.cat([to_class, between_patches], 3), [0, 0, 1, 0])

    def _relative_values(
        self, weights: torch.Tensor, by_row: torch.Tensor, by_column: torch.Tensor, with_class: torch.Tensor
    ) -> torch.Tensor:
        """Returns the sum of r' over the keys, weighted by `weights`: (batch, heads, tokens, head_dim).

        Args:
            weights: Attention weights, (batch, heads, tokens, tokens).
            by_row: First result of `RelativePosition2D`.
            by_column: Second result of `RelativePosition2D`.
            with_class: Third result of `RelativePosition2D`.
        """
        between_patches = weights[:, :, 1:, 1:].reshape(
            weights.shape[0], self.n_heads, self.n_rows, self.n_columns, self.n_rows, self.n_columns
        )
        rows = between_patches.sum(5) @ by_row
        columns = (between_patches.sum(4).transpose(2, 3) @ by_column).transpose(2, 3)
        to_class = torch.cat([weights[:, :, :1].sum(3, keepdim=True), weights[:, :, 1:, :1]], 2)
        return functional.pad((rows + columns).flatten(2, 3), [0, 0, 1, 0]) + to_class * with_class


def fresh_parameter(*shape: int) -> nn.Parameter:
    """Returns a parameter of this shape, initialised from a normal distribution with mean 0 and standard deviation 0.02.

    The vision transformers here use it for the class token, position embeddings and tables of relative positions. timm and NNI
    also truncate the distribution at -2 and 2; these are 100 standard deviations from the mean, so no value is affected.
    """
    values = nn.Parameter(torch.empty(shape))
    init_normal(values, std=0.02)
    return values
