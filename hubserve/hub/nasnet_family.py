"""The model spaces NASNet, ENAS, AmoebaNet, PNAS and DARTS: networks of a searched normal cell and a searched reduction cell.

How the cells are arranged in a network, and the operations of each space, follow Radosavovic et al. 2019, "On Network Design
Spaces for Visual Recognition" (https://arxiv.org/abs/1905.13214), section 5.1 and table 1, as implemented in NNI.
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
"""Name of each allowed data set -> (height and width of its images in pixels, number of classes)."""

STAGES = 3
"""Number of stages of a network."""

# Names of operations that several spaces have.
CROSSED = ("conv_3x1_1x3", "conv_7x1_1x7")
POOLINGS = ("avg_pool_3x3", "max_pool_3x3", "max_pool_5x5", "max_pool_7x7")
SEPARABLE = ("sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7")


@dataclass(frozen=True)
class NDSSpace(HubSpace):
    """The base class of NASNet, ENAS, AmoebaNet, PNAS and DARTS: networks with three stages of cells.

    The first cell of stages two and three is a reduction cell, which halves height and width; all others are normal cells. All
    normal cells have the same operations and edges, and so have all reduction cells. A node sums the outputs of two operations,
    each applied to one of the cell's two inputs (0 and 1) or of the earlier nodes (2, 3, ...); both may read the same one.

    The labels of the choices are `width`, `depth`, and for edge k (0 or 1) of node i `normal/op_{i}_{k}`, its operation, and
    `normal/input_{i}_{k}`, the input or node that it reads; for reduction cells they start with `reduce/`. There is no
    operation "none".

    Args:
        width: Candidates for the number of channels of a node in the first stage, which doubles in each further stage. A single
            number is used as it is and not searched.
        num_cells: Candidates for the number of cells of the network, at least three; the label of this choice is `depth`. A
            single number is used as it is and not searched.
        dataset: Data set for which the network is made: "cifar" (32 pixels, 10 classes) or "imagenet" (224 pixels, 1000
            classes, and a stem that divides height and width by eight).
        auxiliary_loss: Whether to add an auxiliary classifier, which reads the output of the first cell of the third stage; in
            training mode the network then returns (logits, auxiliary logits). (NNI gives this classifier the number of input
            channels of the last cell's output, which fails if the two cells differ in it.)
        drop_path_prob: Probability in [0, 1) with which the output of an edge, other than an identity, is set to 0 in training,
            for each sample; the method `set_drop_path_prob` of a network changes it. The keys of the state dict do not depend
            on it. (In NNI they do, so that published weights cannot be loaded.)
        num_labels: Number of classes; None takes that of the data set, 10 or 1000. (NNI does not have this argument.)

    Attributes:
        operations: Names of the candidates for the operation of an edge.
        n_nodes: Number of nodes of a cell.
        merge: Nodes that are concatenated to the output of a cell: "all", or "loose_end" for those that no other node reads.

    Shapes of the network:
        forward: x (batch, 3, height, width) float32 -> logits (batch, num_labels).

    Raises:
        SpaceError: `dataset` is unknown, `num_labels` is below 1, a candidate of `width` is below 1 (below 2 for "imagenet") or
            of `num_cells` below 3, or `drop_path_prob` is not in [0, 1).
    """

    width: tuple[int, ...] | int = (16, 24, 32)
    num_cells: tuple[int, ...] | int = (4, 8, 12, 16, 20)
    dataset: str = "cifar"
    auxiliary_loss: bool = False
    drop_path_prob: float = 0.0
    num_labels: int = None  # type: ignore[assignment]

    channels_last: ClassVar[bool] = True
    operations: ClassVar[tuple[str, ...]]
    n_nodes: ClassVar[int] = 5
    merge: ClassVar[Merge] = "loose_end"

    def __post_init__(self) -> None:
        name = type(self).__name__
        # The default of `num_labels` depends on the data set, which is therefore checked first.
        if self.dataset not in DATASETS:
            raise SpaceError(f"{name}: dataset = {self.dataset!r} is not one of {tuple(DATASETS)}")
        if self.num_labels is None:
            object.__setattr__(self, "num_labels", DATASETS[self.dataset][1])
        super().__post_init__()
        least = 2 if self.dataset == "imagenet" else 1  # `FactorizedReduce` in the first cell needs two channels.
        if min(_candidates(self.width), default=least) < least:
            raise SpaceError(f"{name}: width = {self.width} must be at least {least} for {self.dataset}")
        if min(_candidates(self.num_cells), default=STAGES) < STAGES:
            raise SpaceError(f"{name}: num_cells = {self.num_cells} must be at least {STAGES}, one for each stage")
        check_drop_path_prob(self.drop_path_prob, where=f"{name}: drop_path_prob")

    @property
    def input_size(self) -> int:
        """Height and width, in pixels, of the images of the data set: 32 or 224."""
        return DATASETS[self.dataset][0]

    @cached_property
    def choices(self) -> dict[str, Choice]:
        """Label -> choice, in the order of NNI: width, depth, and for each kind of cell all operations before all inputs."""
        return dict(sorted(super().choices.items(), key=lambda item: _place(item[0])))

    def build(self, pick: Picker) -> nn.Module:
        """Returns the network with the values that `pick` chooses for the labels."""
        return _Builder(self, pick).network()

    def cells(self, arch: Mapping[str, Any]) -> dict[str, CellOutline]:
        """Returns the normal cell and the reduction cell, from which drawings are made, under the keys "normal" and "reduce".

        Raises:
            ArchError: `arch` is not in the space.
        """
        picked = self.canonical(arch)
        return {kind: self._outline(picked, kind) for kind in ("normal", "reduce")}

    def _outline(self, arch: Mapping[str, Any], kind: str) -> CellOutline:
        """Returns the graph of the cell of the kind "normal" or "reduce"; `arch` is canonical."""
        states = range(2, 2 + self.n_nodes)
        edges = [(arch[f"{kind}/input_{i}_{k}"][0], i, arch[f"{kind}/op_{i}_{k}"]) for i in states for k in (0, 1)]
        read = {source for source, _, _ in edges}
        output = 2 + self.n_nodes
        joined = [(state, output, "") for state in states if self.merge == "all" or state not in read]
        return CellOutline(("before last", "last", *map(str, states), "output"), (*edges, *joined))


class _Builder:
    """Builds the network from the first cell to the last, and records the shapes of the inputs of the next cell.

    Attributes:
        before: Number of channels of the first input of the next cell, the output of the cell before the last one.
        last: Number of channels of the second input of the next cell, the output of the last cell.
        halved: Whether the second input of the next cell has half the height and width of the first.
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
        """Returns the network; call it once."""
        stages = [self.stage(stage) for stage in range(STAGES)]
        head = self.auxiliary_head(stages[2][0]) if self.space.auxiliary_loss else None
        small = self.space.dataset == "cifar"
        stems = _cifar_stem(self.width) if small else _imagenet_stems(self.width)
        network = CifarCellNetwork if small else ImageNetCellNetwork
        return network(stems, stages, channels=self.last, num_labels=self.space.num_labels, auxiliary_head=head)

    def stage(self, stage: int) -> list[Cell]:
        """Returns the cells of stage `stage`, from 0 to 2; all stages have about the same number of cells."""
        n_cells = (stage + 1) * self.depth // STAGES - stage * self.depth // STAGES
        return [self.cell(self.width << stage, reduce=stage > 0 and i == 0) for i in range(n_cells)]

    def cell(self, channels: int, *, reduce: bool) -> Cell:
        """Returns the next cell, a reduction cell if `reduce` is True, with `channels` channels in each node."""
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
        """Returns a layer for each of the two inputs of a cell; they give both inputs `channels` channels and the same size."""
        first = FactorizedReduce(self.before, channels) if self.halved else relu_conv_bn(self.before, channels)
        return [first, relu_conv_bn(self.last, channels)]

    def auxiliary_head(self, read: Cell) -> AuxiliaryHead:
        """Returns the auxiliary classifier, which reads the output of the cell `read` of the third stage."""
        channels = len(read.outputs) * (self.width << 2)
        return AuxiliaryHead(channels, self.space.num_labels, stride=3 if self.space.dataset == "cifar" else 2)


def _operations(names: tuple[str, ...], channels: int, *, reduce: bool) -> Operations:
    """Returns, for each name, a function that makes the operation for a given input (0 or 1) or node (2, 3, ...).

    The operations have `channels` input and output channels. In a reduction cell (`reduce`), the operations on the cell's two
    inputs have stride 2 and halve height and width; all others have stride 1.
    """

    def make(name: str, source: int) -> nn.Module:
        return OPERATIONS[name](channels, 2 if reduce and source < 2 else 1)

    return {name: partial(make, name) for name in names}


def _cifar_stem(width: int) -> dict[str, nn.Module]:
    """Returns {"stem": the stem for "cifar"}, a convolution with 3 * `width` output channels that keeps height and width."""
    return {"stem": nn.Sequential(conv2d(3, 3 * width, 3, padding=1, bias=False), batch_norm(3 * width))}


def _imagenet_stems(width: int) -> dict[str, nn.Module]:
    """Returns the stems "stem0" and "stem1" for "imagenet", which divide height and width by 4 and then by 2.

    Both have `width` output channels.
    """
    half = max(width // 2, 1)
    conv = partial(conv2d, kernel=3, stride=2, padding=1, bias=False)
    return {
        "stem0": nn.Sequential(conv(3, half), batch_norm(half), nn.ReLU(), conv(half, width), batch_norm(width)),
        "stem1": nn.Sequential(nn.ReLU(), conv(width, width), batch_norm(width)),
    }


def _candidates(setting: tuple[int, ...] | int) -> tuple[int, ...]:
    """Returns a single number as a tuple, and a tuple unchanged."""
    return (setting,) if isinstance(setting, int) else setting


def _place(label: str) -> tuple[int, bool]:
    """Returns the sort key of a label; `sorted` keeps the order of labels with equal keys."""
    cell, _, rest = label.partition("/")
    return ("width", "depth", "normal", "reduce").index(cell), rest.startswith("input")


@dataclass(frozen=True)
class NASNet(NDSSpace):
    """The model space of "Learning Transferable Architectures for Scalable Image Recognition" (Zoph et al. 2018).

    The arguments and errors are those of `NDSSpace`.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1707.07012"
    operations = ("skip_connect", *CROSSED, "dil_conv_3x3", *POOLINGS, "conv_1x1", "conv_3x3", *SEPARABLE)


@dataclass(frozen=True)
class ENAS(NDSSpace):
    """The micro search space of "Efficient Neural Architecture Search via Parameter Sharing" (Pham et al. 2018).

    The arguments and errors are those of `NDSSpace`.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1802.03268"
    operations = ("skip_connect", "sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3")


@dataclass(frozen=True)
class AmoebaNet(NDSSpace):
    """The model space of "Regularized Evolution for Image Classifier Architecture Search" (Real et al. 2019).

    The arguments and errors are those of `NDSSpace`.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1802.01548"
    operations = ("skip_connect", *SEPARABLE, "avg_pool_3x3", "max_pool_3x3", "dil_sep_conv_3x3", "conv_7x1_1x7")


@dataclass(frozen=True)
class PNAS(NDSSpace):
    """The model space of "Progressive Neural Architecture Search" (Liu et al. 2018).

    The output of a cell concatenates all its nodes. The arguments and errors are those of `NDSSpace`.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1712.00559"
    merge: ClassVar[Merge] = "all"
    operations = (*SEPARABLE, "conv_7x1_1x7", "skip_connect", "avg_pool_3x3", "max_pool_3x3", "dil_conv_3x3")


@dataclass(frozen=True)
class DARTS(NDSSpace):
    """The model space of "DARTS: Differentiable Architecture Search" (Liu et al. 2019).

    A cell has four nodes, and its output concatenates all of them. Unlike in the paper, both edges of a node may read the same
    input or node. The arguments and errors are those of `NDSSpace`.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1806.09055"
    n_nodes: ClassVar[int] = 4
    merge: ClassVar[Merge] = "all"
    operations = ("max_pool_3x3", "avg_pool_3x3", "skip_connect", *SEPARABLE[:2], "dil_conv_3x3", "dil_conv_5x5")
