"""The cell of the NASNet family: a small graph whose nodes are sums of operations on earlier nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, get_args

import torch
from torch import nn

from hubserve.blocks.drop_path import check_drop_path_prob, drop_path
from hubserve.errors import SpaceError, suggest
from hubserve.space import Picker

Merge = Literal["all", "loose_end"]
"""Nodes that are concatenated to the output of a cell: all of them, or those that no other node reads."""

Genotype = Sequence[Sequence[tuple[str, int]]]
"""For each node its edges: (name of the operation, index of the state that it reads)."""

Operations = Mapping[str, Callable[[int], nn.Module]]
"""Name -> function that builds the operation from the index of the state that it reads, on which its stride may depend."""


class Cell(nn.Module):
    """A small graph of operations (Zoph et al. 2018, NASNet, https://arxiv.org/abs/1707.07012).

    States are numbered: first the cell's inputs, after their preprocessing, then the nodes. A node is the sum of its edges, an
    edge is an operation on one earlier state, and the output is the concatenation of several nodes.

    >>> ops = {"conv": lambda source: nn.Conv2d(8, 8, 3, padding=1), "skip": lambda source: nn.Identity()}
    >>> Cell.of([[("conv", 0)], [("skip", 0), ("conv", 1)]], ops, preprocess=[nn.Conv2d(3, 8, 1)])

    `Cell.ask` builds a cell whose operations and inputs are choices.

    Args:
        nodes: For each node its edges: (operation, index of the state that it reads).
        preprocess: One layer for each input of the cell.
        merge: Nodes that are concatenated: "all", or "loose_end" for those that no other node reads.
        drop_path_prob: Probability in [0, 1) with which an edge is left out in training, per sample; identities are never left
            out. The attribute may be changed at any time. It adds no layer, so keys do not depend on it (in NNI they do).

    Attributes:
        outputs: Indices of the states that are concatenated to the output.

    Shapes:
        forward: inputs, one tensor (batch, c_i, height_i, width_i) for each layer of `preprocess`
            -> (batch, len(outputs) * channels, height, width).

    Raises:
        SpaceError: A node has no edge, or an edge reads no earlier state; `merge` is unknown; or `drop_path_prob` is not in
            [0, 1).
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
        # One flat list of edges: TorchScript cannot index lists of lists in loops that it unrolls.
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
        """The cell of a genotype. Other arguments are those of the class.

        Raises:
            SpaceError: An operation is unknown, or the class refuses an argument.
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
        """A cell whose operations and inputs are choices. Other arguments are those of the class.

        Labels, for edge k of the node with state i: `{label}/input_{i}_{k}` and `{label}/op_{i}_{k}`. All cells with one label
        have the same answers.

        Args:
            pick: The picker of `build`.
            label: Prefix of the labels.
            operations: Candidates for the operation of an edge.
            n_nodes: Number of nodes.
            preprocess: One layer for each input of the cell.
            n_edges: Number of edges of each node.
            merge: Nodes that are concatenated to the output.
            drop_path_prob: Probability in [0, 1) with which an edge is left out in training, per sample.
        """
        states = range(len(preprocess), len(preprocess) + n_nodes)
        questions = [[_ask_edge(pick, label, node, k, operations) for k in range(n_edges)] for node in states]
        # A supernet answers with several inputs for one edge; which nodes no other reads is then not decided yet.
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
    """Edge k of a node: a pair (operation, source) for each input that the picker answers, of which a frozen cell has one."""

    def operation(source: int) -> nn.Module:
        return pick.layer(f"{label}/op_{node}_{k}", {name: partial(make, source) for name, make in operations.items()})

    return pick.edges(f"{label}/input_{node}_{k}", node, operation)


def _check(nodes: Sequence[Sequence[tuple[nn.Module, int]]], n_inputs: int, merge: str) -> None:
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
