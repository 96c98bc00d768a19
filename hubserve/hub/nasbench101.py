"""The space NasBench101: one cell, a small graph of convolutions and poolings, repeated nine times."""

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


@dataclass(frozen=True)
class NasBench101(HubSpace):
    """Ying et al. 2019, "NAS-Bench-101": cells of up to 7 vertices and 9 edges, for CIFAR-10.

    Labels: `cell/num_nodes`, input and output included; `cell/op1` ... for the inner vertices; `cell/input1` ... for the
    vertices that feed each vertex after the input. `check` holds two rules about all of them: at most `max_num_edges` edges,
    counted before unused vertices are pruned, and a path from input to output. NNI has these rules under a 13th label,
    `cell/final`, which also holds the pruned cell; such an entry of an arch is ignored.

    An arch and its pruned arch freeze to the same network. So do isomorphic cells, up to the order of vertices and to which of
    them have a channel more where channels do not divide. As in NNI they are different archs for `count()` and `canonical`;
    `cell_hash` and `count_unique()` take isomorphic cells as one.

    Args:
        stem_out_channels: Channels of the stem and of the first stack; each further stack has twice as many as the one before.
        num_stacks: Number of stacks of cells, with a max pooling of stride 2 between them.
        num_modules_per_stack: Number of cells in each stack.
        max_num_vertices: Largest number of vertices of a cell, input and output included.
        max_num_edges: Largest number of edges of a cell, before pruning.
        num_labels: Number of classes.
        bn_eps: Number that batch norm adds to the variance.
        bn_momentum: Weight of the newest batch in the running statistics of batch norm.

    Shapes of the network:
        forward: x (batch, 3, height, width) float32 -> logits (batch, num_labels).

    Raises:
        SpaceError: `max_num_vertices` is below 2 or `max_num_edges` below 1, so that no cell has a path; there are no stacks or
            cells; or `stem_out_channels` is not enough for one to each inner vertex.
    """

    stem_out_channels: int = 128
    num_stacks: int = 3
    num_modules_per_stack: int = 3
    max_num_vertices: int = 7
    max_num_edges: int = 9
    num_labels: int = 10
    bn_eps: float = 1e-5
    bn_momentum: float = 0.003

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
        """The pruned cell of an arch.

        Raises:
            ArchError: `arch` is not valid.
        """
        self.check(dict(arch))
        return self._ask(FrozenPicker(arch)).pruned()

    def cells(self, arch: Mapping[str, Any]) -> dict[str, CellOutline]:
        """A dict with one entry: the pruned cell under the key "the", since all cells of the network are the same."""
        cell = self.cell(arch)
        edges = [(source, target, "") for target, sources in enumerate(cell.sources, 1) for source in sources]
        return {"the": CellOutline(("input", *cell.operations, "output"), tuple(edges))}

    def cell_hash(self, arch: Mapping[str, Any]) -> str:
        """A digest that is equal for archs with isomorphic pruned cells: the key in the benchmark's public table.

        Raises:
            ArchError: `arch` is not valid.
        """
        return self.cell(arch).fingerprint(OPERATIONS)

    def count(self) -> int:
        """Exact number of canonical archs that `check` accepts; isomorphic cells are different archs, as in NNI."""
        return sum(count_graphs(n, self.max_num_edges) * len(OPERATIONS) ** (n - 2) for n in self._sizes)

    def count_unique(self) -> int:
        """Exact number of pruned cells, isomorphic ones counted once: 423,624 with the default settings, as published."""
        return sum(count_unique_cells(n, self.max_num_edges, len(OPERATIONS)) for n in self._sizes)

    @property
    def _sizes(self) -> range:
        return range(2, self.max_num_vertices + 1)

    def _ask(self, pick: Picker) -> CellGraph:
        """The cell before pruning. Sources of vertex v matter where num_nodes > v, its operation where num_nodes > v + 1."""
        # NNI's sampling weights: each further vertex doubles the probability, since there are more such cells.
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
    """The network of one cell: a stem, stacks of cells with poolings between them, a classifier."""

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
