"""The model space NASBERT: text encoders of four blocks, with a searched hidden size, depth and operations of each block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import nn

from hubserve.blocks.fast_init import init_normal
from hubserve.blocks.fast_layers import bare, layer_norm
from hubserve.blocks.masked_attention import xavier_linear
from hubserve.blocks.nasbert import PostNormAttention, PostNormConvolutions, PostNormFeedForward, normal_linear
from hubserve.blocks.sequences import running_positions
from hubserve.errors import SpaceError
from hubserve.hub.hub_space import HubSpace, token_input
from hubserve.hub.network_outline import CellOutline, chain_outline
from hubserve.package.manifest import InputEntry
from hubserve.space import Picker

KERNELS = {"sep_conv_3": 3, "sep_conv_5": 5, "sep_conv_7": 7}
"""Name of each operation that is a separable convolution -> number of tokens that it sees."""

OPERATIONS = ("mha", "ffn", *KERNELS)
"""The operations of a layer: multi-head attention, feed-forward and separable convolutions."""


@dataclass(frozen=True)
class NASBERT(HubSpace):
    """The model space of "NAS-BERT: Task-Agnostic and Adaptive-Size BERT Compression" (Xu et al. 2021, section 3.1).

    The labels of its choices are, for each block b from 1, `b{b}_hidden`, the hidden size of all its layers, `b{b}_depth`, the
    number of its layers, and `b{b}_op_{i}`, the operation of its layer i, counted from 0. In the paper, a layer can also be an
    identity, but only at the end of a block, and all layers of a block have one hidden size. Here a block has only the layers
    before its identities, so that every arch keeps these rules and each network has one arch: with the defaults there are
    97,650 different blocks and 97,650 ** 4 archs. `random` draws all of them with the same probability.

    Where two blocks have different hidden sizes, a linear layer lies between them, and one before the first block if its size
    is not that of the embedding. The embedding size is a setting, since the paper gives it with the size of the wanted model.

    Args:
        vocab_size: Number of different tokens; the default is that of RoBERTa's tokenizer, which ML.NET's models use.
        embedding_size: Number of channels of the embeddings; 64 in the paper's model of 5 million parameters, 512 in that of
            60 million.
        num_labels: Number of classes.
        hidden_sizes: Candidates for the number of channels of a block.
        num_blocks: Number of blocks.
        layers_per_block: Largest number of layers of a block.
        max_length: Largest number of tokens of a sequence.
        pad_id: Id of the token that fills up shorter sequences of a batch.
        head_dim: Number of channels of an attention head; each hidden size must be a multiple of it.
        dropout: Dropout probability after embeddings and operations, and before the classifier, in [0, 1).
        attention_dropout: Dropout probability of attention weights, in [0, 1).

    Shapes of the network:
        forward: tokens (batch, length) int64 -> logits (batch, num_labels). The classifier reads the first token. The logits do
            not depend on how many tokens `pad_id` follow a sequence.

    Raises:
        SpaceError: A number is below 1, `pad_id` is no token, `head_dim` does not divide a hidden size, a hidden size is given
            twice or none is, or a probability is not in [0, 1).
    """

    vocab_size: int = 50265
    embedding_size: int = 64
    num_labels: int = 2
    hidden_sizes: tuple[int, ...] = (128, 192, 256, 384, 512)
    num_blocks: int = 4
    layers_per_block: int = 6
    max_length: int = 512
    pad_id: int = 1
    head_dim: int = 64
    dropout: float = 0.1
    attention_dropout: float = 0.1

    paper: ClassVar[str] = "https://arxiv.org/abs/2105.14444"
    usual_lengths: ClassVar[Mapping[str, int]] = {"length": 128}

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_at_least(1, "embedding_size", "num_blocks", "layers_per_block", "max_length", "head_dim")
        if not 0 <= self.pad_id < self.vocab_size or self.vocab_size < 2:
            raise SpaceError(
                f"NASBERT: pad_id = {self.pad_id} must be one of the vocab_size = {self.vocab_size} tokens, from 0, "
                "which must be at least 2"
            )
        sizes = self.hidden_sizes
        if not sizes or len(set(sizes)) < len(sizes) or any(size < 1 or size % self.head_dim for size in sizes):
            raise SpaceError(
                f"NASBERT: hidden_sizes = {sizes} must be different multiples of head_dim = {self.head_dim}, one at least"
            )
        for setting in ("dropout", "attention_dropout"):
            if not 0.0 <= getattr(self, setting) < 1.0:
                raise SpaceError(f"NASBERT: {setting} = {getattr(self, setting)} is not in [0, 1)")

    @property
    def inputs(self) -> tuple[InputEntry, ...]:
        """The only input: token ids, padded at the end with `pad_id`."""
        return (token_input(self.vocab_size, padding=self.pad_id, longest=self.max_length, prepared_by="text"),)

    def cells(self, arch: Mapping[str, Any]) -> dict[str, CellOutline]:
        """Returns each block as a chain of its operations, from which a drawing is made.

        Raises:
            ArchError: `arch` is not in the space.
        """
        picked = self.canonical(arch)
        found = {}
        for b in range(1, self.num_blocks + 1):
            operations = [picked[f"b{b}_op_{i}"] for i in range(picked[f"b{b}_depth"])]
            found[f"block {b}"] = chain_outline(operations, f"{picked[f'b{b}_hidden']} channels")
        return found

    def build(self, pick: Picker) -> nn.Module:
        """Returns the initialised network with the values that `pick` chooses for the labels."""
        return NASBERTNet(self, [self._block(pick, b) for b in range(1, self.num_blocks + 1)])

    def _block(self, pick: Picker, b: int) -> NASBERTBlock:
        """Returns block `b`, counted from 1."""
        hidden: int = pick(f"b{b}_hidden", self.hidden_sizes)
        candidates = {name: partial(self._operation, name, hidden) for name in OPERATIONS}
        depths = range(1, self.layers_per_block + 1)
        layers = pick.repeat(
            f"b{b}_depth",
            list(depths),
            lambda i: pick.layer(f"b{b}_op_{i}", candidates),
            # As many as there are choices of operations for the depth, so that all archs are equally likely.
            weights=[len(OPERATIONS) ** depth for depth in depths],
        )
        return NASBERTBlock(hidden, layers)

    def _operation(self, name: str, hidden: int) -> nn.Module:
        if name == "mha":
            dropouts = {"dropout": self.dropout, "attention_dropout": self.attention_dropout}
            return PostNormAttention(hidden, head_dim=self.head_dim, **dropouts)
        if name == "ffn":
            return PostNormFeedForward(hidden, dropout=self.dropout)
        return PostNormConvolutions(hidden, kernel=KERNELS[name], dropout=self.dropout)


class NASBERTBlock(nn.Module):
    """A block of NASBERT: layers of one hidden size.

    Args:
        hidden: Number of channels.
        layers: The layers, in their order; each is called with the tokens and the mask.

    Shapes:
        forward: x (batch, length, hidden) and keep (batch, length), False for padding -> (batch, length, hidden).
    """

    def __init__(self, hidden: int, layers: list[nn.Module]) -> None:
        super().__init__()
        self.hidden = hidden
        self.layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x, keep)
        return x


class NASBERTNet(nn.Module):
    """The network of one arch of NASBERT.

    Args:
        space: The space, whose settings apply.
        blocks: The blocks, in their order.

    Shapes:
        forward: tokens (batch, length) int64 -> logits (batch, num_labels).
    """

    def __init__(self, space: NASBERT, blocks: list[NASBERTBlock]) -> None:
        super().__init__()
        self.pad_id = space.pad_id
        size, first = space.embedding_size, blocks[0].hidden
        self.token_embedding = _embedding(space.vocab_size, size, std=0.02)
        # Two rows more than tokens, as in RoBERTa: row 0 is for padding, and the last one is unused.
        self.position_embedding = _embedding(space.max_length + 2, size, std=size**-0.5)
        self.embedding_norm = layer_norm(size)
        self.dropout = nn.Dropout(space.dropout)
        self.embedding_transfer = nn.Identity() if size == first else xavier_linear(size, first)
        self.blocks = nn.ModuleList(blocks)
        pairs = enumerate(pairwise(blocks))
        self.transfers = nn.ModuleDict(
            {str(i): normal_linear(a.hidden, b.hidden) for i, (a, b) in pairs if a.hidden != b.hidden}
        )
        self.classifier = normal_linear(blocks[-1].hidden, space.num_labels)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.dropout(self.encode(tokens)[:, 0]))

    def encode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Returns the encoded tokens (batch, length, hidden size of the last block); those of padding have no meaning."""
        keep = tokens != self.pad_id
        x = self.token_embedding(tokens) + self.position_embedding(running_positions(keep))
        x = self.embedding_transfer(self.dropout(self.embedding_norm(x)))
        x = x * keep.unsqueeze(-1).to(x.dtype)
        for i, block in enumerate(self.blocks):
            x = block(x, keep)
            if str(i) in self.transfers:
                x = self.transfers[str(i)](x)
        return x


def _embedding(rows: int, size: int, *, std: float) -> nn.Embedding:
    """Returns an embedding whose weights are drawn from a normal distribution with standard deviation `std`."""
    embedding = bare(nn.Embedding, rows, size)
    init_normal(embedding.weight, std=std)
    return embedding
