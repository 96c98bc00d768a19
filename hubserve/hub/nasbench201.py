"""The model space NasBench201: networks that repeat one cell of six edges, each with one of five searched operations."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar

import torch
from torch import nn

from hubserve.blocks.fast_layers import batch_norm, conv2d, linear
from hubserve.blocks.nasbench201 import NASBENCH201_OPERATIONS, NasBench201Cell, ReductionBlock
from hubserve.errors import ArchError
from hubserve.hub.hub_space import HubSpace
from hubserve.hub.network_outline import CellOutline
from hubserve.similar_names import suggest
from hubserve.space import Arch, Picker

N_VERTICES = 4
"""Number of vertices of a cell, input and output included."""

EDGES = tuple((source, target) for target in range(1, N_VERTICES) for source in range(target))
"""(source, target) of each edge of a cell, in the order of the benchmark's arch strings."""

PUBLISHED_NAMES = {
    "none": "none",
    "skip_connect": "skip_connect",
    "conv_1x1": "nor_conv_1x1",
    "conv_3x3": "nor_conv_3x3",
    "avg_pool_3x3": "avg_pool_3x3",
}
"""Name of each operation in archs, which is NNI's -> its name in the benchmark's arch strings."""


@dataclass(frozen=True)
class NasBench201(HubSpace):
    """The model space of "NAS-Bench-201" (Dong and Yang 2020): 15,625 cells, for CIFAR-10, CIFAR-100 and ImageNet16-120.

    The labels of its choices are the edges of the cell: `cell/0_2` is the operation of the edge from vertex 0 to vertex 2. All
    cells of a network are the same. `to_arch_string` and `from_arch_string` convert archs to and from the benchmark's notation.

    Args:
        stem_out_channels: Number of channels of the stem and the first stack; the other two stacks have 2 and 4 times as many.
        num_modules_per_stack: Number of cells in each of the three stacks.
        num_labels: Number of classes.

    Shapes of the network:
        forward: x (batch, 3, height, width) float32 -> logits (batch, num_labels). Height and width are multiples of 4.

    Raises:
        SpaceError: `stem_out_channels` or `num_labels` is below 1, or `num_modules_per_stack` below 0.
    """

    stem_out_channels: int = 16
    num_modules_per_stack: int = 5
    num_labels: int = 10

    channels_last: ClassVar[bool] = True
    paper: ClassVar[str] = "https://arxiv.org/abs/2001.00326"
    default_input_size: ClassVar[int] = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_at_least(1, "stem_out_channels")
        self._check_at_least(0, "num_modules_per_stack")

    def build(self, pick: Picker) -> nn.Module:
        """Returns the network with the values that `pick` chooses for the labels."""
        return NasBench201Net(self, partial(_cell, pick))

    def cells(self, arch: Mapping[str, Any]) -> dict[str, CellOutline]:
        """Returns the cell, from which a drawing is made, under the key "the"; edges with the operation "none" are left out.

        Raises:
            ArchError: `arch` is not in the space.
        """
        picked = self.canonical(arch)
        edges = ((source, target, picked[_label(source, target)]) for source, target in EDGES)
        return {"the": CellOutline(("input", "1", "2", "output"), tuple(edge for edge in edges if edge[2] != "none"))}


class NasBench201Net(nn.Module):
    """The network of one arch of NasBench201: a stem, three stacks of cells, residual blocks between them, and a classifier.

    Args:
        space: The space, whose settings apply.
        cell: Function that makes a cell with the given number of channels.

    Shapes:
        forward: x (batch, 3, height, width) -> logits (batch, num_labels). The residual blocks halve height and width.
    """

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
    """Returns `arch` in the benchmark's notation, such as `|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...~0|...~1|...~2|`.

    Raises:
        ArchError: A label is missing, or its value is not the name of an operation.
    """
    canonical = _any_space().canonical(arch)
    vertices = (
        [f"{PUBLISHED_NAMES[canonical[_label(source, target)]]}~{source}" for source in range(target)]
        for target in range(1, N_VERTICES)
    )
    return "+".join(f"|{'|'.join(edges)}|" for edges in vertices)


def from_arch_string(text: str) -> Arch:
    """Returns the arch that `text` describes in the benchmark's notation; see `to_arch_string`.

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
    """Returns a space with the default settings. Its choices are those of all settings; they are determined only once."""
    return NasBench201()


def _cell(pick: Picker, channels: int) -> nn.Module:
    """Returns a cell with `channels` channels and the operations that `pick` chooses."""
    candidates = {name: partial(make, channels) for name, make in NASBENCH201_OPERATIONS.items()}
    return NasBench201Cell(
        [pick.layer(_label(source, target), candidates) for source in range(target)] for target in range(1, N_VERTICES)
    )


def _label(source: int, target: int) -> str:
    """Returns the label of the edge from vertex `source` to vertex `target`."""
    return f"cell/{source}_{target}"


# The notation of arch strings with "OP" for each operation, for error messages, and the regular expression that parses it.
_PATTERN = "+".join(f"|{'|'.join(f'OP~{source}' for source in range(target))}|" for target in range(1, N_VERTICES))
_ARCH_STRING = re.compile(re.escape(_PATTERN).replace("OP", "([^|~+]*)"))
