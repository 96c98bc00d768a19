"""The model space NasBench101: networks that repeat one searched cell, a graph of convolutions and poolings."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import nn

from hubserve.blocks.conv import ConvStyle
from hubserve.blocks.fast_layers import linear
from hubserve.blocks.nasbench101 import NASBENCH101_OPERATIONS, ConvBnRelu, NasBench101Cell
from hubserve.errors import ArchError, SpaceError
from hubserve.hub.hub_space import HubSpace
from hubserve.hub.nasbench101_count import count_graphs, count_unique_cells
from hubserve.hub.nasbench101_graph import CellGraph
from hubserve.hub.network_outline import CellOutline
from hubserve.space import Arch, FrozenPicker, Picker

OPERATIONS = tuple(NASBENCH101_OPERATIONS)
"""Names of the operations of a vertex, in the order of the benchmark."""


@dataclass(frozen=True)
class NasBench101(HubSpace):
    """The model space of "NAS-Bench-101" (Ying et al. 2019): cells with up to 7 vertices and 9 edges, for CIFAR-10.

    The labels of its choices are `cell/num_nodes`, the number of vertices with input and output; `cell/op1`, `cell/op2`, ...,
    the operations of the inner vertices; and `cell/input1`, `cell/input2`, ..., the sources of the edges to each vertex after
    the input. In addition, an arch must have at most `max_num_edges` edges, counted before unused vertices are pruned, and a
    path from input to output; see `check`. NNI has a 13th label for these rules, `cell/final`; such an entry of an arch is
    ignored.

    Vertices on no path from input to output are pruned, so that archs that differ only in these have the same network.
    Isomorphic cells have the same network up to the order of the vertices, and up to which vertices have one more channel if
    the channels cannot be divided equally. As in NNI, all of these are different archs for `count` and `canonical`; `cell_hash`
    and `count_unique` do not distinguish them.

    Args:
        stem_out_channels: Number of channels of the stem and of the first stack; each further stack has twice as many.
        num_stacks: Number of stacks of cells; a max pooling of stride 2 separates them.
        num_modules_per_stack: Number of cells in each stack.
        max_num_vertices: Largest number of vertices of a cell, input and output included.
        max_num_edges: Largest number of edges of a cell, before pruning.
        num_labels: Number of classes.
        bn_eps: Number that the batch norms add to the variance, `eps` of `torch.nn.BatchNorm2d`.
        bn_momentum: Weight of the newest batch in the running statistics of the batch norms, from 0 to 1.

    Shapes of the network:
        forward: x (batch, 3, height, width) float32 -> logits (batch, num_labels).

    Raises:
        SpaceError: `max_num_vertices` is below 2; `max_num_edges`, `num_stacks`, `num_modules_per_stack` or `num_labels` is
            below 1; or `stem_out_channels` is below 1 or below the largest number of inner vertices, `max_num_vertices` - 2.
    """

    stem_out_channels: int = 128
    num_stacks: int = 3
    num_modules_per_stack: int = 3
    max_num_vertices: int = 7
    max_num_edges: int = 9
    num_labels: int = 10
    bn_eps: float = 1e-5
    bn_momentum: float = 0.003

    channels_last: ClassVar[bool] = True
    paper: ClassVar[str] = "https://arxiv.org/abs/1902.09635"
    default_input_size: ClassVar[int] = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_num_vertices < 2 or self.max_num_edges < 1:
            raise SpaceError(
                f"NasBench101: max_num_vertices = {self.max_num_vertices} and max_num_edges = {self.max_num_edges} leave no "
                "path from input to output; give at least 2 vertices and 1 edge"
            )
        self._check_at_least(1, "num_stacks", "num_modules_per_stack")
        self._check_at_least(max(1, self.max_num_vertices - 2), "stem_out_channels")

    def build(self, pick: Picker) -> nn.Module:
        """Returns the network of the pruned cell with the values that `pick` chooses for the labels."""
        return NasBench101Net(self, self._ask(pick).pruned())

    def check(self, arch: Arch) -> None:
        """Raises ArchError unless the cell has at most `max_num_edges` edges and a path from input to output."""
        cell = self._ask(FrozenPicker(arch))
        inputs = "cell/input1" + (f" ... cell/input{cell.n_vertices - 1}" if cell.n_vertices > 2 else "")
        if cell.n_edges > self.max_num_edges:
            raise ArchError(
                f"the cell has {cell.n_edges} edges and may have {self.max_num_edges}, counted before pruning; take some out "
                f"of {inputs}, or raise max_num_edges"
            )
        if not cell.used:
            raise ArchError(
                f"no path leads from vertex 0, the input of the cell, to vertex {cell.n_vertices - 1}, its output; "
                f"add edges to {inputs}"
            )

    def cell(self, arch: Mapping[str, Any]) -> CellGraph:
        """Returns the cell of `arch` as a graph, without unused vertices.

        Raises:
            ArchError: `arch` is not in the space.
        """
        self.check(dict(arch))
        return self._ask(FrozenPicker(arch)).pruned()

    def cells(self, arch: Mapping[str, Any]) -> dict[str, CellOutline]:
        """Returns the pruned cell, from which a drawing is made, under the key "the": all cells of the network are the same.

        Raises:
            ArchError: `arch` is not in the space.
        """
        cell = self.cell(arch)
        edges = [(source, target, "") for target, sources in enumerate(cell.sources, 1) for source in sources]
        return {"the": CellOutline(("input", *cell.operations, "output"), tuple(edges))}

    def cell_hash(self, arch: Mapping[str, Any]) -> str:
        """Returns a hexadecimal digest of the pruned cell, the key of the cell in the table that the benchmark publishes.

        Archs whose pruned cells are isomorphic have the same digest.

        Raises:
            ArchError: `arch` is not in the space.
        """
        return self.cell(arch).fingerprint(OPERATIONS)

    def count(self) -> int:
        """Returns the exact number of canonical archs of the space; archs with isomorphic cells count separately, as in NNI."""
        return sum(count_graphs(n, self.max_num_edges) * len(OPERATIONS) ** (n - 2) for n in self._sizes)

    def count_unique(self) -> int:
        """Returns the exact number of pruned cells, where isomorphic cells count once: 423,624 for the default settings."""
        return sum(count_unique_cells(n, self.max_num_edges, len(OPERATIONS)) for n in self._sizes)

    @property
    def _sizes(self) -> range:
        """The possible numbers of vertices of a cell."""
        return range(2, self.max_num_vertices + 1)

    def _ask(self, pick: Picker) -> CellGraph:
        """Returns the cell before pruning.

        `pick` is called for the sources of vertex v if `cell/num_nodes` > v, and for its operation if `cell/num_nodes` > v + 1.
        """
        # As in NNI, a number of vertices is sampled twice as often as the next smaller one, since there are more such cells.
        weights = [2.0**n / sum(2.0**m for m in self._sizes) for n in self._sizes]

        def operation(i: int) -> str | None:
            return pick(f"cell/op{i - 1}", OPERATIONS) if i >= 2 else None

        def sources(i: int) -> list[int] | None:
            return pick.inputs(f"cell/input{i}", n_candidates=i, n_chosen=None) if i >= 1 else None

        operations = pick.repeat("cell/num_nodes", tuple(self._sizes), operation, weights=weights)
        edges = pick.repeat("cell/num_nodes", tuple(self._sizes), sources, weights=weights)
        return CellGraph(
            operations=tuple(name for name in operations if name is not None),
            sources=tuple(tuple(of_vertex) for of_vertex in edges if of_vertex is not None),
        )


class NasBench101Net(nn.Module):
    """The network of one arch of NasBench101: a stem, stacks of equal cells with max poolings between them, and a classifier.

    Args:
        space: The space, whose settings apply.
        cell: The pruned cell.

    Shapes:
        forward: x (batch, 3, height, width) -> logits (batch, num_labels).
    """

    def __init__(self, space: NasBench101, cell: CellGraph) -> None:
        super().__init__()
        style = ConvStyle(space.bn_eps, space.bn_momentum)
        self.stem_conv = ConvBnRelu(3, space.stem_out_channels, 3, style=style)
        widths = [space.stem_out_channels * 2**stack for stack in range(space.num_stacks)]
        self.features = nn.Sequential()
        for stack, width in enumerate(widths):
            if stack > 0:
                self.features.append(nn.MaxPool2d(2, stride=2))
            inner = [widths[max(stack - 1, 0)], *[width] * space.num_modules_per_stack]
            for c_in, c_out in pairwise(inner):
                self.features.append(
                    NasBench101Cell(c_in, c_out, operations=cell.operations, sources=cell.sources, style=style)
                )
        self.classifier = linear(widths[-1], space.num_labels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(self.stem_conv(x)).mean((2, 3)))
