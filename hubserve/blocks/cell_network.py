"""Networks of stacked cells for CIFAR-10 and ImageNet; each cell reads the outputs of the two cells before it."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from hubserve.blocks.cell import Cell
from hubserve.blocks.drop_path import check_drop_path_prob
from hubserve.blocks.fast_layers import batch_norm, conv2d, linear


class AuxiliaryHead(nn.Module):
    """A second classifier on an inner state; DARTS adds 0.4 times its loss to the network's in training.

    The head of the reference code of DARTS (Liu et al. 2019); as in NNI it has its second batch norm for ImageNet, too.

    Args:
        channels: Number of channels of the state that it reads.
        num_labels: Number of classes.
        stride: Stride of its pooling: 3 for states of 8 x 8 (CIFAR-10), 2 for 7 x 7 (ImageNet). Of larger states, the features
            are averaged.

    Shapes:
        forward: x (batch, channels, height, width), both at least 7 -> logits (batch, num_labels).
    """

    def __init__(self, channels: int, num_labels: int, *, stride: int) -> None:
        super().__init__()
        pool = nn.AvgPool2d(5, stride=stride)
        narrow, wide = conv2d(channels, 128, 1, bias=False), conv2d(128, 768, 2, bias=False)
        self.features = nn.Sequential(nn.ReLU(), pool, narrow, batch_norm(128), nn.ReLU(), wide, batch_norm(768), nn.ReLU())
        self.classifier = linear(768, num_labels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


class CellNetwork(nn.Module):
    """The base class of both networks: stages of cells, pooling, a classifier, and possibly an auxiliary head.

    Args:
        stems: Attribute name -> layers before the first cell.
        stages: The cells of each stage.
        channels: Number of channels of the last cell's output.
        num_labels: Number of classes.
        auxiliary_head: Head that reads the output of the first cell of the third stage; None has no such head.
    """

    def __init__(
        self,
        stems: Mapping[str, nn.Module],
        stages: Sequence[Sequence[Cell]],
        *,
        channels: int,
        num_labels: int,
        auxiliary_head: AuxiliaryHead | None = None,
    ) -> None:
        super().__init__()
        for name, stem in stems.items():
            self.add_module(name, stem)
        self.stages = nn.ModuleList(nn.ModuleList(cells) for cells in stages)
        self.auxiliary_head = auxiliary_head
        self.global_pooling = nn.AdaptiveAvgPool2d(1)
        self.classifier = linear(channels, num_labels)

    def set_drop_path_prob(self, prob: float) -> None:
        """Sets the probability with which each edge of all cells is left out in training, per sample.

        DARTS raises it linearly: before each epoch, `net.set_drop_path_prob(highest * epoch / epochs)`.

        Raises:
            SpaceError: `prob` is not in [0, 1).
        """
        check_drop_path_prob(prob, where="drop_path_prob")
        for module in self.modules():
            if isinstance(module, Cell):
                module.drop_path_prob = prob

    def _classify(self, before: torch.Tensor, last: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        inner = last
        for s, stage in enumerate(self.stages):
            for i, cell in enumerate(stage):  # type: ignore[arg-type,var-annotated]
                before, last = last, cell([before, last])
                if s == 2 and i == 0:
                    inner = last
        logits = self.classifier(self.global_pooling(last).flatten(1))
        if self.auxiliary_head is not None and self.training:
            return logits, self.auxiliary_head(inner)
        return logits


class CifarCellNetwork(CellNetwork):
    """The network for small images: the stem `stem` keeps height and width, and the first cell reads its output twice.

    Shapes:
        forward: x (batch, 3, height, width) -> logits (batch, num_labels); in training with an auxiliary head, a pair of them.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        state = self.stem(x)  # type: ignore[operator]
        return self._classify(state, state)


class ImageNetCellNetwork(CellNetwork):
    """The network for large images: `stem0` divides height and width by four, `stem1` by two; the first cell reads both.

    Shapes:
        forward: x (batch, 3, height, width) -> logits (batch, num_labels); in training with an auxiliary head, a pair of them.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        state = self.stem0(x)  # type: ignore[operator]
        return self._classify(state, self.stem1(state))  # type: ignore[operator]
