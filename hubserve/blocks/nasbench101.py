"""The cell of NAS-Bench-101, a graph whose vertices are operations and whose edges pass tensors between them."""

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import nn

from hubserve.blocks.conv import ConvStyle
from hubserve.blocks.fast_init import init_truncated_normal
from hubserve.errors import SpaceError
from hubserve.similar_names import suggest


class ConvBnRelu(nn.Module):
    """A convolution without bias, batch norm and ReLU, in this order.

    The weights of the convolution are initialised from a normal distribution with mean 0 and standard deviation
    sqrt(1 / fan in), truncated at two standard deviations.

    Shapes:
        forward: x (batch, c_in, height, width) -> (batch, c_out, height, width).
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, *, style: ConvStyle) -> None:
        super().__init__()
        self.conv_bn_relu = nn.Sequential(*style.conv_bn_act(c_in, c_out, kernel, activation=nn.ReLU))
        init_truncated_normal(self.conv_bn_relu[0].weight, std=(c_in * kernel**2) ** -0.5)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv_bn_relu(x)


NASBENCH101_OPERATIONS: dict[str, Callable[[int, ConvStyle], nn.Module]] = {
    "conv3x3-bn-relu": lambda channels, style: ConvBnRelu(channels, channels, 3, style=style),
    "conv1x1-bn-relu": lambda channels, style: ConvBnRelu(channels, channels, 1, style=style),
    "maxpool3x3": lambda channels, style: nn.MaxPool2d(3, stride=1, padding=1),
}
"""Name -> function that builds the operation from the number of channels and the style; NAS-Bench-101's names and order."""


class NasBench101Cell(nn.Module):
    """A cell of NAS-Bench-101 without unused vertices (Ying et al. 2019, sections 2.1 and 2.3).

    Vertex 0 is the input, the last vertex is the output, and each inner vertex applies its operation to the sum of its sources.
    An edge from the input has a 1x1 projection. An edge between inner vertices drops the last channels if the target has fewer
    channels. The output is the concatenation of its inner sources, plus the projected input if it has an edge from vertex 0.
    As in NNI, every vertex has a projection, even without an edge from the input; the benchmark omits unused projections.

    Args:
        c_in: Number of channels of the input.
        c_out: Number of channels of the output.
        operations: Operation of each inner vertex, a key of `NASBENCH101_OPERATIONS`; the first one is that of vertex 1.
        sources: For each vertex from 1 on, including the output, the indices of the vertices with an edge to it. Each inner
            vertex must be a source of another vertex.
        style: Settings of batch norm and padding of all convolutions.

    Shapes:
        forward: x (batch, c_in, height, width) -> (batch, c_out, height, width).

    Raises:
        SpaceError: An operation is unknown, `sources` does not have one entry more than `operations`, a vertex has no source or
            one that is not before it, an inner vertex is no source, or the output has more inner sources than channels.
    """

    def __init__(
        self, c_in: int, c_out: int, *, operations: Sequence[str], sources: Sequence[Sequence[int]], style: ConvStyle
    ) -> None:
        super().__init__()
        _check(c_out, operations, sources)
        self.channels = vertex_channels(c_in, c_out, sources)
        self.sources = [list(of_vertex) for of_vertex in sources]
        projections = [ConvBnRelu(c_in, channels, 1, style=style) for channels in self.channels[1:]]
        inner = [NASBENCH101_OPERATIONS[name](self.channels[vertex], style) for vertex, name in enumerate(operations, 1)]
        # The input vertex is numbered 0 and has neither a projection nor an operation.
        self.projections = nn.ModuleList([nn.Identity(), *projections])
        self.ops = nn.ModuleList([nn.Identity(), *inner])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = [x]
        for vertex, operation in enumerate(self.ops):
            if vertex > 0:
                outputs.append(operation(reduce(torch.add, self._incoming(vertex, outputs))))
        inner = [outputs[source] for source in self.sources[-1] if source != 0]
        joined = [torch.cat(inner, 1)] if inner else []
        return reduce(torch.add, [*joined, *self._projected_input(len(outputs), x)])

    def _incoming(self, vertex: int, outputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """Returns the tensors that an inner vertex sums, each with the number of channels of this vertex."""
        channels, sources = self.channels[vertex], [source for source in self.sources[vertex - 1] if source != 0]
        inner = [outputs[i] if self.channels[i] == channels else outputs[i][:, :channels] for i in sources]
        return [*inner, *self._projected_input(vertex, outputs[0])]

    def _projected_input(self, vertex: int, x: torch.Tensor) -> list[torch.Tensor]:
        """Returns a list with the projected input of the cell if the vertex has an edge from it, else an empty list."""
        return [self.projections[vertex](x)] if 0 in self.sources[vertex - 1] else []


def _check(c_out: int, operations: Sequence[str], sources: Sequence[Sequence[int]]) -> None:
    """Raises SpaceError unless the arguments of `NasBench101Cell` are a valid cell without unused vertices."""
    unknown = [name for name in operations if name not in NASBENCH101_OPERATIONS]
    if unknown:
        raise SpaceError(f"a cell has no operation {unknown[0]!r}. {suggest(unknown[0], NASBENCH101_OPERATIONS)}")
    if len(sources) != len(operations) + 1:
        raise SpaceError(
            f"a cell with {len(operations)} operations needs the sources of {len(operations) + 1} vertices, the output's "
            f"included, and {len(sources)} are given"
        )
    read = {source for of_vertex in sources for source in of_vertex}
    for vertex, of_vertex in enumerate(sources, 1):
        if not of_vertex or not all(0 <= source < vertex for source in of_vertex):
            raise SpaceError(f"vertex {vertex} of a cell has the sources {list(of_vertex)}; give some of 0 to {vertex - 1}")
        if vertex < len(sources) and vertex not in read:
            raise SpaceError(f"vertex {vertex} of a cell feeds no other; prune the cell first")
    sharing = sum(source != 0 for source in sources[-1])
    if c_out < sharing:
        raise SpaceError(f"{sharing} vertices of a cell share its c_out = {c_out} output channels; give one for each at least")


def vertex_channels(c_in: int, c_out: int, sources: Sequence[Sequence[int]]) -> list[int]:
    """Returns the number of channels of each vertex of a cell, from the input to the output (Ying et al. 2019, section 2.3).

    The inner vertices with an edge to the output share its channels equally; if there is a remainder, the first of them have
    one channel more. Any other inner vertex has as many channels as the largest vertex to which it has an edge. Arguments are
    those of `NasBench101Cell` and are not checked.
    """
    output = len(sources)
    channels = [c_in] + [0] * (output - 1) + [c_out]
    feeding = [source for source in sources[-1] if source != 0]
    for place, vertex in enumerate(feeding):
        channels[vertex] = c_out // len(feeding) + (place < c_out % len(feeding))
    for vertex in range(output - 1, 0, -1):
        if vertex not in feeding:
            channels[vertex] = max(channels[target] for target in range(vertex + 1, output) if vertex in sources[target - 1])
    return channels
