"""Five spaces of cells in one scheme: NASNet, ENAS, AmoebaNet, PNAS and DARTS.

The scheme, and the operations of each, are those of Radosavovic et al. 2019, "On Network Design Spaces for Visual Recognition"
(https://arxiv.org/abs/1905.13214), section 5.1 and table 1, as NNI has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import ClassVar

from torch import nn

from hubserve.blocks.cell import Cell, Merge, Operations
from hubserve.blocks.cell_network import AuxiliaryHead, CellNetwork, CifarCellNetwork, ImageNetCellNetwork
from hubserve.blocks.nds_ops import OPERATIONS, FactorizedReduce, relu_conv_bn
from hubserve.errors import SpaceError
from hubserve.hub.base import HubSpace
from hubserve.space import Choice, Picker

DATASETS = {"cifar": (32, 10), "imagenet": (224, 1000)}
"""Name -> (input size in pixels, classes)."""

STAGES = 3


@dataclass(frozen=True)
class NDSSpace(HubSpace):
    """The scheme of the five spaces: three stages of cells; the first cell of stages two and three halves height and width.

    All normal cells have one genotype, all reduction cells another. Labels: `width`, `depth`, and, for edge k of the node with
    number i, counted from 2 because a cell's inputs are 0 and 1: `normal/op_2_0`, `normal/input_2_0`, `reduce/op_2_0` and so on.
    Both edges of a node may read the same state, and there is no operation "none".

    Args:
        width: candidates for the channels of a node in the first stage, doubled in each later stage; a number fixes it.
        num_cells: candidates for the number of cells, three at least; a number fixes it. The label is `depth`.
        dataset: "cifar" (32 pixels, 10 classes) or "imagenet" (224 pixels, 1000 classes, and a stem that divides by eight).
        auxiliary_loss: adds an auxiliary head, on the first cell of the third stage; the network then gives
            (logits, auxiliary logits) in training. Its width is that of the cell it reads (NNI's is the last cell's, so that its
            spaces with loose ends cannot be trained with it).
        drop_path_prob: share of samples for which an edge is left out in training; `network.set_drop_path_prob` changes it.
            It does not change the keys (in NNI it does, and published weights do not load).

    Raises:
        SpaceError: unknown data set, a width below 1, fewer than three cells, or a probability outside [0, 1).
    """

    width: tuple[int, ...] | int = (16, 24, 32)
    num_cells: tuple[int, ...] | int = (4, 8, 12, 16, 20)
    dataset: str = "cifar"
    auxiliary_loss: bool = False
    drop_path_prob: float = 0.0

    operations: ClassVar[tuple[str, ...]]
    n_nodes: ClassVar[int] = 5
    merge: ClassVar[Merge] = "loose_end"

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if self.dataset not in DATASETS:
            raise SpaceError(f"{name}: dataset = {self.dataset!r} is not one of {tuple(DATASETS)}")
        if min(_candidates(self.width), default=1) < 1:
            raise SpaceError(f"{name}: width = {self.width} must be at least 1")
        if min(_candidates(self.num_cells), default=STAGES) < STAGES:
            raise SpaceError(f"{name}: num_cells = {self.num_cells} must be at least {STAGES}, one for each stage")
        if not 0.0 <= self.drop_path_prob < 1.0:
            raise SpaceError(f"{name}: drop_path_prob = {self.drop_path_prob} must lie in [0, 1)")

    @property
    def input_size(self) -> int:
        """Height and width, in pixels, of the data set's pictures."""
        return DATASETS[self.dataset][0]

    @property
    def num_labels(self) -> int:  # type: ignore[override]
        """Classes of the data set."""
        return DATASETS[self.dataset][1]

    @cached_property
    def choices(self) -> dict[str, Choice]:
        """Label -> choice in NNI's order: for each kind of cell first all operations, then all inputs."""
        return dict(sorted(super().choices.items(), key=lambda item: _place(item[0])))

    def build(self, pick: Picker) -> nn.Module:
        return _Builder(self, pick).network()


class _Builder:
    """Stacks cells from front to back and keeps account of what the next one reads.

    Attributes:
        before: channels of the output before the last one.
        last: channels of the last output.
        halved: whether the last output has half the height and width of the one before it.
    """

    def __init__(self, space: NDSSpace, pick: Picker) -> None:
        self.space = space
        self.pick = pick
        self.width: int = pick("width", space.width)
        self.depth: int = pick("depth", space.num_cells)
        small = space.dataset == "cifar"
        self.before = self.last = 3 * self.width if small else self.width
        self.halved = not small

    def network(self) -> CellNetwork:
        first, second = self.stage(0), self.stage(1)
        third = [self.cell(2, reduce=True)]
        # The head reads this cell, whose width is not the last one's where ends are loose.
        head = self.auxiliary_head() if self.space.auxiliary_loss else None
        third += self.normal_cells(2, self.cells_of(2) - 1)
        kind, stems = (CifarCellNetwork, _cifar_stem) if self.space.dataset == "cifar" else (ImageNetCellNetwork, _imagenet_stems)
        return kind(
            stems(self.width),
            [first, second, third],
            channels=self.last,
            num_labels=self.space.num_labels,
            auxiliary_head=head,
        )
