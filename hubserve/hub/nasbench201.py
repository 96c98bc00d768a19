"""The space NasBench201: a cell of six edges, each with one of five operations, in three stacks."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar

import torch
from torch import nn

from hubserve.blocks.fast_layers import batch_norm, conv2d, linear
from hubserve.blocks.nasbench201 import NASBENCH201_OPERATIONS, NasBench201Cell, ReductionBlock
from hubserve.errors import ArchError, suggest
from hubserve.hub.hub_space import HubSpace
from hubserve.hub.network_outline import CellOutline
from hubserve.space import Arch, Picker

N_VERTICES = 4

EDGES = tuple((source, target) for target in range(1, N_VERTICES) for source in range(target))
"""(source, target) of each edge, in the order of the benchmark's arch strings."""

PUBLISHED_NAMES = {
    "none": "none",
    "skip_connect": "skip_connect",
    "conv_1x1": "nor_conv_1x1",
    "conv_3x3": "nor_conv_3x3",
    "avg_pool_3x3": "avg_pool_3x3",
}
"""Our names of the operations, which are NNI's -> those of the benchmark's arch strings."""


@dataclass(frozen=True)
class NasBench201(HubSpace):
    """Dong and Yang 2020, "NAS-Bench-201": 15,625 cells, for CIFAR-10, CIFAR-100 and ImageNet16-120.

    Labels: `cell/0_2` is the edge from vertex 0 to vertex 2, the same in all cells. `to_arch_string` and `from_arch_string`
    translate to and from the names of the benchmark's tables.

    Args:
        stem_out_channels: Channels of the stem and of the first stack; the other two stacks have twice and four times as many.
        num_modules_per_stack: Number of cells in each stack.
        num_labels: Number of classes.

    Shapes of the network:
        forward: x (batch, 3, height, width), height and width multiples of 4, float32 -> logits (batch, num_labels).

    Raises:
        SpaceError: `stem_out_channels` or `num_labels` is below 1, or `num_modules_per_stack` below 0.
    """

    stem_out_channels: int = 16
    num_modules_per_stack: int = 5
    num_labels: int = 10

    paper: ClassVar[str] = "https://arxiv.org/abs/2001.00326"
    default_input_size: ClassVar[int] = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_at_least(1, "stem_out_channels")
        self._check_at_least(0, "num_modules_per_stack")

    def build(self, pick: Picker) -> nn.Module:
        return NasBench201Net(self, partial(_cell, pick))

    def cells(self, arch: Mapping[str, Any]) -> dict[str, CellOutline]:
        """A dict with one entry, "the": the cell that is repeated, without edges whose operation is "none"."""
        picked = self.canonical(arch)
        edges = ((source, target, picked[_label(source, target)]) for source, target in EDGES)
        return {"the": CellOutline(("input", "1", "2", "output"), tuple(edge for edge in edges if edge[2] != "none"))}


class NasBench201Net(nn.Module):
    """The network of one arch: a stem, three stacks of cells with residual blocks of stride 2 between them, a classifier."""

    def __init__(self, space: NasBench201, cell: Callable[[int], nn.Module]) -> None:
        super().__init__()
        width = space.stem_out_channels
        self.stem = nn.Sequential(conv2d(3, width, 3, padding=1, bias=False), batch_norm(width))
        self.cells = nn.Sequential()
        for stack in range(3):
            if stack > 0:
                self.cells.append(ReductionBlock(width, 2 * width))
                width *= 2
            self.cells.extend(cell(width) for _ in range(space.num_modules_per_stack))
        self.lastact = nn.Sequential(batch_norm(width), nn.ReLU(inplace=True))
        self.classifier = linear(width, space.num_labels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.lastact(self.cells(self.stem(x))).mean((2, 3)))


def to_arch_string(arch: Mapping[str, Any]) -> str:
    """An arch in the benchmark's notation, such as `|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...~0|...~1|...~2|`.

    Raises:
        ArchError: A label is missing, or its value is no operation.
    """
    canonical = _any_space().canonical(arch)
    vertices = (
        [f"{PUBLISHED_NAMES[canonical[_label(source, target)]]}~{source}" for source in range(target)]
        for target in range(1, N_VERTICES)
    )
    return "+".join(f"|{'|'.join(edges)}|" for edges in vertices)


def from_arch_string(text: str) -> Arch:
    """The arch that the benchmark's notation `text` describes.

    Raises:
        ArchError: `text` is not in this notation, or has an unknown operation.
    """
    names = {published: ours for ours, published in PUBLISHED_NAMES.items()}
    found = _ARCH_STRING.fullmatch(text.strip())
    if found is None:
        raise ArchError(f"{text!r} is no arch string of NAS-Bench-201, which looks like {_PATTERN}")
    unknown = [name for name in found.groups() if name not in names]
    if unknown:
        raise ArchError(f"{text!r} names the operation {unknown[0]!r}. {suggest(unknown[0], names)}")
    return {_label(*edge): names[name] for edge, name in zip(EDGES, found.groups(), strict=True)}


@cache
def _any_space() -> NasBench201:
    # The choices do not depend on the settings, and finding them takes a build of the network.
    return NasBench201()


def _cell(pick: Picker, channels: int) -> nn.Module:
    candidates = {name: partial(make, channels) for name, make in NASBENCH201_OPERATIONS.items()}
    return NasBench201Cell(
        [pick.layer(_label(source, target), candidates) for source in range(target)] for target in range(1, N_VERTICES)
    )


def _label(source: int, target: int) -> str:
    return f"cell/{source}_{target}"


_PATTERN = "+".join(f"|{'|'.join(f'OP~{source}' for source in range(target))}|" for target in range(1, N_VERTICES))
_ARCH_STRING = re.compile(re.escape(_PATTERN).replace("OP", "([^|~+]*)"))
