"""The spaces NASNet, ENAS, AmoebaNet, PNAS and DARTS: networks of searched cells in one scheme.

The scheme and the operations of each space are those of Radosavovic et al. 2019, "On Network Design Spaces for Visual
Recognition" (https://arxiv.org/abs/1905.13214), section 5.1 and table 1, as NNI has them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

from torch import nn

from hubserve.blocks.cell import Cell, Merge, Operations
from hubserve.blocks.cell_network import AuxiliaryHead, CellNetwork, CifarCellNetwork, ImageNetCellNetwork
from hubserve.blocks.drop_path import check_drop_path_prob
from hubserve.blocks.fast_layers import batch_norm, conv2d
from hubserve.blocks.nasnet_operations import OPERATIONS, FactorizedReduce, relu_conv_bn
from hubserve.errors import SpaceError
from hubserve.hub.hub_space import HubSpace
from hubserve.hub.network_outline import CellOutline
from hubserve.space import Choice, Picker

DATASETS = {"cifar": (32, 10), "imagenet": (224, 1000)}
"""Name -> (input size in pixels, classes)."""

STAGES = 3

CROSSED = ("conv_3x1_1x3", "conv_7x1_1x7")
POOLINGS = ("avg_pool_3x3", "max_pool_3x3", "max_pool_5x5", "max_pool_7x7")
SEPARABLE = ("sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7")


@dataclass(frozen=True)
class NDSSpace(HubSpace):
    """The base class of the five spaces: three stages of cells; the first cell of stages two and three halves height and width.

    All normal cells have one genotype, all reduction cells another. Labels: `width`, `depth`, and, for edge k of node i,
    `normal/op_{i}_{k}`, `normal/input_{i}_{k}` and the same with `reduce`; i starts at 2, a cell's inputs being 0 and 1.
    Both edges of a node may read the same state, and there is no operation "none".

    Args:
        width: Candidates for the channels of a node in the first stage; each later stage has twice as many. A number fixes it.
        num_cells: Candidates for the number of cells, at least three; a number fixes it. Its label is `depth`.
        dataset: Data set "cifar" (32 pixels, 10 classes) or "imagenet" (224 pixels, 1000 classes, and a stem that divides
            height and width by eight).
        auxiliary_loss: Whether to add an auxiliary head on the first cell of the third stage; in training the network then
            returns (logits, auxiliary logits). The head has the channels of the cell that it reads. (In NNI it has those of the
            last cell, so that spaces with loose ends cannot be trained.)
        drop_path_prob: Probability in [0, 1) with which an edge is left out in training, per sample;
            `network.set_drop_path_prob` changes it. Keys do not depend on it. (In NNI they do, and published weights do not
            load.)
        num_labels: Number of classes; None takes that of the data set, 10 or 1000. (NNI has no such setting.)

    Shapes of the network:
        forward: x (batch, 3, height, width) float32 -> logits (batch, num_labels).

    Raises:
        SpaceError: The data set is unknown, `num_labels` is below 1, a width is below 1 (for "imagenet" below 2), there are
            fewer than three cells, or the probability is not in [0, 1).
    """

    width: tuple[int, ...] | int = (16, 24, 32)
    num_cells: tuple[int, ...] | int = (4, 8, 12, 16, 20)
    dataset: str = "cifar"
    auxiliary_loss: bool = False
    drop_path_prob: float = 0.0
    num_labels: int = None  # type: ignore[assignment]

    operations: ClassVar[tuple[str, ...]]
    n_nodes: ClassVar[int] = 5
    merge: ClassVar[Merge] = "loose_end"

    def __post_init__(self) -> None:
        name = type(self).__name__
        # First: the number of classes follows from it.
        if self.dataset not in DATASETS:
            raise SpaceError(f"{name}: dataset = {self.dataset!r} is not one of {tuple(DATASETS)}")
        if self.num_labels is None:
            object.__setattr__(self, "num_labels", DATASETS[self.dataset][1])
        super().__post_init__()
        least = 2 if self.dataset == "imagenet" else 1  # Its first cell brings its first input to half the size.
        if min(_candidates(self.width), default=least) < least:
            raise SpaceError(f"{name}: width = {self.width} must be at least {least} for {self.dataset}")
        if min(_candidates(self.num_cells), default=STAGES) < STAGES:
            raise SpaceError(f"{name}: num_cells = {self.num_cells} must be at least {STAGES}, one for each stage")
        check_drop_path_prob(self.drop_path_prob, where=f"{name}: drop_path_prob")

    @property
    def input_size(self) -> int:
        """Height and width, in pixels, of the data set's images."""
        return DATASETS[self.dataset][0]

    @cached_property
    def choices(self) -> dict[str, Choice]:
        """Label -> choice in NNI's order: for each kind of cell first all operations, then all inputs."""
        return dict(sorted(super().choices.items(), key=lambda item: _place(item[0])))

    def build(self, pick: Picker) -> nn.Module:
        return _Builder(self, pick).network()

    def cells(self, arch: Mapping[str, Any]) -> dict[str, CellOutline]:
        """The normal and the reduction cell."""
        picked = self.canonical(arch)
        return {kind: self._outline(picked, kind) for kind in ("normal", "reduce")}

    def _outline(self, arch: Mapping[str, Any], kind: str) -> CellOutline:
        states = range(2, 2 + self.n_nodes)
        edges = [(arch[f"{kind}/input_{i}_{k}"][0], i, arch[f"{kind}/op_{i}_{k}"]) for i in states for k in (0, 1)]
        read = {source for source, _, _ in edges}
        output = 2 + self.n_nodes
        joined = [(state, output, "") for state in states if self.merge == "all" or state not in read]
        return CellOutline(("before last", "last", *map(str, states), "output"), (*edges, *joined))


class _Builder:
    """Stacks cells from front to back, and records the shapes of what the next cell reads.

    Attributes:
        before: Number of channels of the output before the last one.
        last: Number of channels of the last output.
        halved: Whether the last output has half the height and width of the one before it.
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
        stages = [self.stage(stage) for stage in range(STAGES)]
        head = self.auxiliary_head(stages[2][0]) if self.space.auxiliary_loss else None
        small = self.space.dataset == "cifar"
        stems = _cifar_stem(self.width) if small else _imagenet_stems(self.width)
        network = CifarCellNetwork if small else ImageNetCellNetwork
        return network(stems, stages, channels=self.last, num_labels=self.space.num_labels, auxiliary_head=head)

    def stage(self, stage: int) -> list[Cell]:
        n_cells = (stage + 1) * self.depth // STAGES - stage * self.depth // STAGES
        return [self.cell(self.width << stage, reduce=stage > 0 and i == 0) for i in range(n_cells)]

    def cell(self, channels: int, *, reduce: bool) -> Cell:
        cell = Cell.ask(
            self.pick,
            "reduce" if reduce else "normal",
            _operations(self.space.operations, channels, reduce=reduce),
            n_nodes=self.space.n_nodes,
            preprocess=self.preprocess(channels),
            merge=self.space.merge,
            drop_path_prob=self.space.drop_path_prob,
        )
        self.before, self.last, self.halved = self.last, len(cell.outputs) * channels, reduce
        return cell

    def preprocess(self, channels: int) -> list[nn.Module]:
        """Layers that give both inputs of a cell its channels and the height and width of the second input."""
        first = FactorizedReduce(self.before, channels) if self.halved else relu_conv_bn(self.before, channels)
        return [first, relu_conv_bn(self.last, channels)]

    def auxiliary_head(self, read: Cell) -> AuxiliaryHead:
        channels = len(read.outputs) * (self.width << 2)
        return AuxiliaryHead(channels, self.space.num_labels, stride=3 if self.space.dataset == "cifar" else 2)


def _operations(names: tuple[str, ...], channels: int, *, reduce: bool) -> Operations:
    """Name -> operation. In a reduction cell, operations on the cell's two inputs halve height and width."""

    def make(name: str, source: int) -> nn.Module:
        return OPERATIONS[name](channels, 2 if reduce and source < 2 else 1)

    return {name: partial(make, name) for name in names}


def _cifar_stem(width: int) -> dict[str, nn.Module]:
    return {"stem": nn.Sequential(conv2d(3, 3 * width, 3, padding=1, bias=False), batch_norm(3 * width))}


def _imagenet_stems(width: int) -> dict[str, nn.Module]:
    half = max(width // 2, 1)
    conv = partial(conv2d, kernel=3, stride=2, padding=1, bias=False)
    return {
        "stem0": nn.Sequential(conv(3, half), batch_norm(half), nn.ReLU(), conv(half, width), batch_norm(width)),
        "stem1": nn.Sequential(nn.ReLU(), conv(width, width), batch_norm(width)),
    }


def _candidates(setting: tuple[int, ...] | int) -> tuple[int, ...]:
    return (setting,) if isinstance(setting, int) else setting


def _place(label: str) -> tuple[int, bool]:
    """Sort key of a label; labels with equal keys stay in the order of asking."""
    cell, _, rest = label.partition("/")
    return ("width", "depth", "normal", "reduce").index(cell), rest.startswith("input")


@dataclass(frozen=True)
class NASNet(NDSSpace):
    """Zoph et al. 2018, "Learning Transferable Architectures for Scalable Image Recognition".

    Arguments and errors are those of NDSSpace.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1707.07012"
    operations = ("skip_connect", *CROSSED, "dil_conv_3x3", *POOLINGS, "conv_1x1", "conv_3x3", *SEPARABLE)


@dataclass(frozen=True)
class ENAS(NDSSpace):
    """Pham et al. 2018, "Efficient Neural Architecture Search via Parameter Sharing", its micro space.

    Arguments and errors are those of NDSSpace.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1802.03268"
    operations = ("skip_connect", "sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3")


@dataclass(frozen=True)
class AmoebaNet(NDSSpace):
    """Real et al. 2019, "Regularized Evolution for Image Classifier Architecture Search".

    Arguments and errors are those of NDSSpace.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1802.01548"
    operations = ("skip_connect", *SEPARABLE, "avg_pool_3x3", "max_pool_3x3", "dil_sep_conv_3x3", "conv_7x1_1x7")


@dataclass(frozen=True)
class PNAS(NDSSpace):
    """Liu et al. 2018, "Progressive Neural Architecture Search": all nodes are concatenated.

    Arguments and errors are those of NDSSpace.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1712.00559"
    merge: ClassVar[Merge] = "all"
    operations = (*SEPARABLE, "conv_7x1_1x7", "skip_connect", "avg_pool_3x3", "max_pool_3x3", "dil_conv_3x3")


@dataclass(frozen=True)
class DARTS(NDSSpace):
    """Liu et al. 2019, "DARTS: Differentiable Architecture Search": four nodes, all concatenated.

    Unlike in the paper, the two edges of a node may read the same state. Arguments and errors are those of NDSSpace.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1806.09055"
    n_nodes: ClassVar[int] = 4
    merge: ClassVar[Merge] = "all"
    operations = ("max_pool_3x3", "avg_pool_3x3", "skip_connect", *SEPARABLE[:2], "dil_conv_3x3", "dil_conv_5x5")
