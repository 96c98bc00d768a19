"""The cell of NAS-Bench-201, a graph whose edges are operations and whose vertices are tensors, and its reduction block."""

from collections.abc import Callable, Iterable, Sequence
from functools import reduce

import torch
from torch import nn

from hubserve.blocks.fast_layers import conv2d
from hubserve.blocks.nasnet_operations import relu_conv_bn
from hubserve.errors import SpaceError


class ReluConvBn(nn.Module):
    """ReLU, a convolution without bias and batch norm, in this order; the kernel size must be odd.

    Shapes:
        forward: x (batch, c_in, height, width) -> (batch, c_out, ceil(height / stride), ceil(width / stride)).
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__()
        # The ReLU is not in-place, because other edges read the same input.
        self.op = relu_conv_bn(c_in, c_out, kernel, stride=stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.op(x)


class Zero(nn.Module):
    """The operation "none": returns zeros with the shape of its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)


NASBENCH201_OPERATIONS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda channels: Zero(),
    "skip_connect": lambda channels: nn.Identity(),
    "conv_1x1": lambda channels: ReluConvBn(channels, channels, 1),
    "conv_3x3": lambda channels: ReluConvBn(channels, channels, 3),
    "avg_pool_3x3": lambda channels: nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
}
"""Name -> function that builds the operation from the number of channels, which is the same for input and output."""


class NasBench201Cell(nn.Module):
    """A cell in which every vertex has an edge from each vertex before it (Dong and Yang 2020, section 2.1).

    Vertex 0 is the input, every other vertex is the sum of the outputs of its edges, and the last vertex is the output.

    Args:
        edges: For each vertex from 1 on, the layers of its edges from vertex 0, 1, ...; each must keep the shape of its input.

    Shapes:
        forward: x (batch, channels, height, width) -> the same shape.

    Raises:
        SpaceError: `edges` is empty, or a vertex does not have one edge from each vertex before it.
    """

    def __init__(self, edges: Iterable[Sequence[nn.Module]]) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.ModuleList(to_vertex) for to_vertex in edges])
        found = [len(to_vertex) for to_vertex in self.layers]  # type: ignore[arg-type]
        if not found or found != list(range(1, len(found) + 1)):
            raise SpaceError(f"vertices 1, 2, ... of a cell need 1, 2, ... edges, one from each before it, and have {found}")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        vertices = [x]
        for to_vertex in self.layers:
            edges = zip(to_vertex, vertices, strict=True)  # type: ignore[call-overload]
            vertices.append(reduce(torch.add, [layer(vertex) for layer, vertex in edges]))
        return vertices[-1]


class ReductionBlock(nn.Module):
    """The residual block that halves height and width between stacks of cells (Dong and Yang 2020, section 2.1).

    Shapes:
        forward: x (batch, c_in, height, width), both even -> (batch, c_out, height / 2, width / 2).
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv_a = ReluConvBn(c_in, c_out, 3, stride=2)
        self.conv_b = ReluConvBn(c_out, c_out, 3)
        self.downsample = nn.Sequential(nn.AvgPool2d(2, stride=2), conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.downsample(x) + self.conv_b(self.conv_a(x))
