"""The cell of the NASNet family (NASNet, ENAS, AmoebaNet, PNAS, DARTS): a graph of operations, fixed or searched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, get_args

import torch
from torch import nn

from hubserve.blocks.drop_path import check_drop_path_prob, drop_path
from hubserve.errors import SpaceError
from hubserve.similar_names import suggest
from hubserve.space import Picker

Merge = Literal["all", "loose_end"]
"""Which nodes are concatenated to the output of a cell: "all" of them, or for "loose_end" those that no other node reads."""

Genotype = Sequence[Sequence[tuple[str, int]]]
"""The edges of each node of a cell, node by node; an edge is (operation name, index of the state that it reads)."""

Operations = Mapping[str, Callable[[int], nn.Module]]
"""Name -> function that builds the operation; its argument, the index of the state that is read, may determine the stride."""


class Cell(nn.Module):
    """A graph of operations, of which a network stacks many (Zoph et al. 2018, NASNet, https://arxiv.org/abs/1707.07012).

    A cell with n inputs computes tensors, called states: states 0 to n - 1 are the inputs after `preprocess`, states n, n + 1,
    ... are the nodes. Each edge of a node applies an operation to one earlier state, and the node is the sum of its edges. The
    output is the concatenation of several nodes along the channels.

    >>> ops = {"conv": lambda source: nn.Conv2d(8, 8, 3, padding=1), "skip": lambda source: nn.Identity()}
    >>> Cell.of([[("conv", 0)], [("skip", 0), ("conv", 1)]], ops, preprocess=[nn.Conv2d(3, 8, 1)])

    `Cell.of` builds a cell from a genotype, and `Cell.ask` one whose operations and inputs are choices of the search.

    Args:
        nodes: The edges of each node; an edge is (operation, index of the state that it reads).
        preprocess: One layer for each input of the cell.
        merge: Which nodes are concatenated: "all", or "loose_end" for those that no other node reads.
        drop_path_prob: Probability in [0, 1) with which an edge is set to zero in training, for each sample on its own; edges
            with an `nn.Identity` are never set to zero. The attribute may be changed at any time. Unlike in NNI, it adds no
            layer, so state dict keys do not depend on it.

    Attributes:
        outputs: Indices of the states that are concatenated to the output.

    Shapes:
        forward: inputs, one tensor (batch, c_i, height_i, width_i) for each layer of `preprocess`
            -> (batch, len(outputs) * channels, height, width), where a node is (batch, channels, height, width).

    Raises:
        SpaceError: `nodes` or `preprocess` is empty, a node has no edge, an edge reads a state that is not an earlier one,
            `merge` is unknown, or `drop_path_prob` is not in [0, 1).
    """

    def __init__(
        self,
        nodes: Sequence[Sequence[tuple[nn.Module, int]]],
        *,
        preprocess: Sequence[nn.Module],
        merge: Merge = "all",
        drop_path_prob: float = 0.0,
    ) -> None:
        super().__init__()
        _check(nodes, len(preprocess), merge)
        check_drop_path_prob(drop_path_prob, where="a cell's drop_path_prob")
        self.preprocessor = nn.ModuleDict({f"pre{i}": layer for i, layer in enumerate(preprocess)})
        self.ops = nn.ModuleList(nn.ModuleList(operation for operation, _ in edges) for edges in nodes)
        # The edges of all nodes are in one list, since TorchScript cannot index nested lists in loops that it unrolls.
        self.sources = [source for edges in nodes for _, source in edges]
        self.droppable = [not isinstance(operation, nn.Identity) for edges in nodes for operation, _ in edges]
        states = range(len(preprocess), len(preprocess) + len(nodes))
        self.outputs = [state for state in states if merge == "all" or state not in self.sources]
        self.drop_path_prob = drop_path_prob

    @classmethod
    def of(
        cls,
        genotype: Genotype,
        operations: Operations,
        *,
        preprocess: Sequence[nn.Module],
        merge: Merge = "all",
        drop_path_prob: float = 0.0,
    ) -> Cell:
        """Returns the cell of a genotype.

        Args:
            genotype: The edges of each node, with names of operations.
            operations: Functions that build the operations; must have every name of `genotype`.
            preprocess: One layer for each input of the cell.
            merge: Which nodes are concatenated to the output: "all", or "loose_end" for those that no other node reads.
            drop_path_prob: Probability in [0, 1) with which an edge is set to zero in training, for each sample on its own.

        Raises:
            SpaceError: `operations` lacks a name of the genotype, or `Cell` raises it for another argument.
        """
        unknown = [name for edges in genotype for name, _ in edges if name not in operations]
        if unknown:
            raise SpaceError(f"the cell has no operation {unknown[0]!r}. {suggest(unknown[0], operations)}")
        nodes = [[(operations[name](source), source) for name, source in edges] for edges in genotype]
        return cls(nodes, preprocess=preprocess, merge=merge, drop_path_prob=drop_path_prob)

    @classmethod
    def ask(
        cls,
        pick: Picker,
        label: str,
        operations: Operations,
        *,
        n_nodes: int,
        preprocess: Sequence[nn.Module],
        n_edges: int = 2,
        merge: Merge = "all",
        drop_path_prob: float = 0.0,
    ) -> Cell:
        """Returns a cell in which the operation and the input of each edge are choices of the search.

        The choices of edge k of the node with state index i have the labels `{label}/op_{i}_{k}` and `{label}/input_{i}_{k}`.
        All cells with the same label have the same graph and operations.

        Args:
            pick: The picker that `ModelSpace.build` receives.
            label: Prefix of the labels.
            operations: Candidates for the operation of each edge.
            n_nodes: Number of nodes, at least 1.
            preprocess: One layer for each input of the cell.
            n_edges: Number of edges of each node, at least 1.
            merge: Which nodes are concatenated to the output; in a supernet, which edges a node has may not be decided yet, and
                then all nodes are.
            drop_path_prob: Probability in [0, 1) with which an edge is set to zero in training, for each sample on its own.

        Raises:
            SpaceError: `n_nodes` or `n_edges` is below 1, `operations` is empty, or `Cell` raises it for another argument.
        """
        states = range(len(preprocess), len(preprocess) + n_nodes)
        questions = [[_ask_edge(pick, label, node, k, operations) for k in range(n_edges)] for node in states]
        # A supernet may return several inputs for one edge. It is then not yet known which nodes no other node reads.
        certain = all(len(answer) == 1 for node in questions for answer in node)
        nodes = [[edge for answer in node for edge in answer] for node in questions]
        return cls(nodes, preprocess=preprocess, merge=merge if certain else "all", drop_path_prob=drop_path_prob)

    def forward(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        states: list[torch.Tensor] = []
        for i, layer in enumerate(self.preprocessor.values()):
            states.append(layer(inputs[i]))
        edge = 0
        for node in self.ops:
            parts: list[torch.Tensor] = []
            for operation in node:  # type: ignore[attr-defined]
                part = operation(states[self.sources[edge]])
                if self.training and self.drop_path_prob > 0.0 and self.droppable[edge]:
                    part = drop_path(part, self.drop_path_prob)
                parts.append(part)
                edge += 1
            total = parts[0]
            for part in parts[1:]:
                total = total + part
            states.append(total)
        return torch.cat([states[state] for state in self.outputs], dim=1)


def _ask_edge(pick: Picker, label: str, node: int, k: int, operations: Operations) -> list[tuple[nn.Module, int]]:
    """Returns (operation, index of its state) for each input that the picker chooses for edge k of state `node`.

    A cell that is built for one arch has exactly one pair; a supernet may have more.
    """

    def operation(source: int) -> nn.Module:
        return pick.layer(f"{label}/op_{node}_{k}", {name: partial(make, source) for name, make in operations.items()})

    return pick.edges(f"{label}/input_{node}_{k}", node, operation)


def _check(nodes: Sequence[Sequence[tuple[nn.Module, int]]], n_inputs: int, merge: str) -> None:
    """Raises SpaceError unless `nodes` is a valid graph for a cell of `n_inputs` inputs and `merge` is a known value."""
    if merge not in get_args(Merge):
        raise SpaceError(f"merge = {merge!r} is not one of {get_args(Merge)}")
    if not nodes or not n_inputs:
        raise SpaceError(f"a cell needs a node and an input; it has {len(nodes)} nodes and {n_inputs} layers in preprocess")
    for node, edges in enumerate(nodes, start=n_inputs):
        if not edges:
            raise SpaceError(f"node {node} of the cell has no edge; give it one at least")
        for _, source in edges:
            if not 0 <= source < node:
                raise SpaceError(f"node {node} of the cell reads state {source}; it may read 0 to {node - 1}")
