"""The model space AutoFormer: vision transformers with a searched width, depth, number of heads and MLP ratio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from hubserve.blocks.attention import RelativePositionAttention
from hubserve.blocks.fast_layers import conv2d, layer_norm, linear
from hubserve.blocks.transformer import ClassToken, EncoderLayer, PositionEmbedding
from hubserve.errors import SpaceError
from hubserve.hub.hub_space import HubSpace
from hubserve.similar_names import suggest
from hubserve.space import Picker

HEAD_DIM = 64
"""Number of channels of an attention head; it is the same for all values of `embed_dim`."""

PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"search_embed_dim": (192, 216, 240), "search_num_heads": (3, 4), "search_depth": (12, 13, 14)},
    "small": {"search_embed_dim": (320, 384, 448), "search_num_heads": (5, 6, 7), "search_depth": (12, 13, 14)},
    "base": {"search_embed_dim": (528, 576, 624), "search_num_heads": (8, 9, 10), "search_depth": (14, 15, 16)},
}
"""Name -> settings of the paper's three spaces (table 1); in all of them the MLP ratios are 3, 3.5 and 4, the default."""


@dataclass(frozen=True)
class AutoFormer(HubSpace):
    """The model space of "AutoFormer: Searching Transformers for Visual Recognition" (Chen et al. 2021, section 3.3).

    The labels of its choices are `embed_dim`, `depth`, and for each layer i, counted from 0, `num_head_i` and `mlp_ratio_i`.
    Each head has 64 channels, so that the number of heads changes the width of queries, keys and values, but not that of the
    tokens.

    The defaults are the paper's tiny space; `AutoFormer.preset` returns any of the paper's three spaces.

    Args:
        search_embed_dim: Candidates for the number of channels of the tokens; two numbers are two candidates, not a range.
        search_mlp_ratio: Candidates for the number of hidden channels of a layer's MLP, as a multiple of the tokens' channels.
        search_num_heads: Candidates for the number of heads of a layer.
        search_depth: Candidates for the number of layers; two numbers are two candidates, not a range.
        img_size: Height and width of the images, in pixels.
        patch_size: Height and width of a patch, in pixels; `img_size` must be a multiple of it.
        in_channels: Number of channels of the images.
        num_labels: Number of classes.
        qkv_bias: Whether queries, keys and values have a bias.
        drop_rate: Dropout probability after attentions and linear layers, in [0, 1).
        attn_drop_rate: Dropout probability of attention weights, in [0, 1).
        drop_path_rate: Probability in [0, 1) with which the last layer of the deepest network is skipped in training, per
            sample; it grows linearly from 0 at the first layer.
        pre_norm: Whether layer norms precede attention and MLP, with one more after the last layer; False puts them after both.
        global_pooling: Whether the classifier reads the mean of the patch tokens; False makes it read the class token.
        absolute_position: Whether a learned position embedding is added to each token.
        qk_scale: Factor by which the attention scores are multiplied; None is 64 ** -0.5.
        rpe: Whether the attention has learned embeddings of relative positions.

    Shapes of the network:
        forward: x (batch, in_channels, img_size, img_size) float32 -> logits (batch, num_labels).

    Raises:
        SpaceError: A list of candidates is empty or has a number that is not above 0, or another setting is out of range.
    """

    search_embed_dim: tuple[int, ...] = (192, 216, 240)
    search_mlp_ratio: tuple[float, ...] = (3.0, 3.5, 4.0)
    search_num_heads: tuple[int, ...] = (3, 4)
    search_depth: tuple[int, ...] = (12, 13, 14)
    img_size: int = 224
    patch_size: int = 16
    in_channels: int = 3
    num_labels: int = 1000
    qkv_bias: bool = True
    drop_rate: float = 0.0
    attn_drop_rate: float = 0.0
    drop_path_rate: float = 0.1
    pre_norm: bool = True
    global_pooling: bool = True
    absolute_position: bool = True
    qk_scale: float | None = None
    rpe: bool = True

    paper: ClassVar[str] = "https://arxiv.org/abs/2107.00651"

    def __post_init__(self) -> None:
        super().__post_init__()
        for setting in ("search_embed_dim", "search_num_heads", "search_depth"):
            _check_candidates(setting, getattr(self, setting), int)
        _check_candidates("search_mlp_ratio", self.search_mlp_ratio, float)
        if int(min(self.search_embed_dim) * min(self.search_mlp_ratio)) < 1:
            raise SpaceError(f"AutoFormer: search_mlp_ratio = {self.search_mlp_ratio} leaves a layer without hidden channels")
        for setting in ("drop_rate", "attn_drop_rate", "drop_path_rate"):
            if not 0.0 <= getattr(self, setting) < 1.0:
                raise SpaceError(f"AutoFormer: {setting} = {getattr(self, setting)} is not in [0, 1)")
        if min(self.img_size, self.patch_size, self.in_channels) < 1 or self.img_size % self.patch_size:
            raise SpaceError(
                f"AutoFormer: img_size = {self.img_size}, patch_size = {self.patch_size} and in_channels = {self.in_channels} "
                "must be at least 1, and patch_size must divide img_size"
            )

    @classmethod
    def preset(cls, name: str) -> AutoFormer:
        """Returns one of the paper's spaces: `name` is "tiny", "small" or "base".

        The settings that are not searched have their defaults; `dataclasses.replace` returns a copy with others.

        Raises:
            SpaceError: There is no preset of this name.
        """
        if name not in PRESETS:
            raise SpaceError(f"AutoFormer has no preset {name!r}. {suggest(name, PRESETS)}")
        return cls(**PRESETS[name])

    @property
    def input_size(self) -> int:
        """Height and width of the images, in pixels: `img_size`."""
        return self.img_size

    def build(self, pick: Picker) -> nn.Module:
        """Returns the network with the values that `pick` chooses for the labels."""
        dim: int = pick("embed_dim", self.search_embed_dim)
        # A list, because `repeat` interprets a tuple of two numbers as a range.
        layers = pick.repeat("depth", list(self.search_depth), lambda i: self._layer(pick, i, dim))
        return AutoFormerNet(self, dim, layers)

    def _layer(self, pick: Picker, i: int, dim: int) -> EncoderLayer:
        """Returns layer `i`, counted from 0, for tokens of `dim` channels."""
        patches = self.img_size // self.patch_size
        attention = RelativePositionAttention(
            dim,
            pick(f"num_head_{i}", self.search_num_heads),
            grid=(patches, patches),
            head_dim=HEAD_DIM,
            qkv_bias=self.qkv_bias,
            qk_scale=self.qk_scale,
            attn_drop=self.attn_drop_rate,
            proj_drop=self.drop_rate,
            relative=self.rpe,
        )
        return EncoderLayer(
            attention,
            dim,
            int(dim * pick(f"mlp_ratio_{i}", self.search_mlp_ratio)),
            dropout=self.drop_rate,
            # Relative to the depth of the deepest network, so that layer i has the same rate in all networks.
            drop_path_prob=self.drop_path_rate * i / max(max(self.search_depth) - 1, 1),
            pre_norm=self.pre_norm,
        )


class AutoFormerNet(nn.Module):
    """The network of one arch of AutoFormer; the keys of its state dict are those of NNI.

    Args:
        space: The space, whose settings apply.
        dim: Number of channels of the tokens.
        layers: The encoder layers, in their order.

    Shapes:
        forward: x (batch, in_channels, img_size, img_size) -> logits (batch, num_labels).
    """

    def __init__(self, space: AutoFormer, dim: int, layers: list[EncoderLayer]) -> None:
        super().__init__()
        patches = (space.img_size // space.patch_size) ** 2
        self.global_pooling = space.global_pooling
        self.patch_embed = conv2d(space.in_channels, dim, space.patch_size, stride=space.patch_size)
        self.cls_token = ClassToken(dim)
        self.pos_embed = PositionEmbedding(1 + patches, dim) if space.absolute_position else nn.Identity()
        self.blocks = nn.Sequential(*layers)
        self.norm = layer_norm(dim) if space.pre_norm else nn.Identity()
        self.head = linear(dim, space.num_labels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.cls_token(self.patch_embed(x).flatten(2).transpose(1, 2))
        tokens = self.norm(self.blocks(self.pos_embed(tokens)))
        return self.head(tokens[:, 1:].mean(1) if self.global_pooling else tokens[:, 0])


def _check_candidates(setting: str, found: object, kind: type) -> None:
    """Raises SpaceError unless `found` is a tuple of one or more numbers above 0; of integers only if `kind` is int."""
    allowed = int if kind is int else (int, float)
    if not isinstance(found, tuple) or not found or not all(isinstance(n, allowed) and n > 0 for n in found):
        numbers = "whole numbers" if kind is int else "numbers"
        raise SpaceError(f"AutoFormer: {setting} = {found!r} is not a list of {numbers} above 0, one at least")
