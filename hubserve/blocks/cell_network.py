"""Networks of stacked cells for CIFAR-10 and ImageNet, in which each cell reads the outputs of the two cells before it."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from hubserve.blocks.cell import Cell
from hubserve.blocks.drop_path import check_drop_path_prob
from hubserve.blocks.fast_layers import batch_norm, conv2d, linear


class AuxiliaryHead(nn.Module):
    """A second classifier, which reads the output of an inner cell; DARTS adds 0.4 times its loss to the training loss.

    The layers are those of the reference code of DARTS (Liu et al. 2019). As in NNI, the head for ImageNet also has the second
    batch norm, which the reference code omits.

    Args:
        channels: Number of channels of the input.
        num_labels: Number of classes.
        stride: Stride of the average pooling: 3 for inputs of 8 x 8 pixels (CIFAR-10), 2 for 7 x 7 (ImageNet). For larger
            inputs, the features of all positions are averaged before the classifier.

    Shapes:
        forward: x (batch, channels, height, width), height and width at least 5 + stride -> logits (batch, num_labels).
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
    """Base class of `CifarCellNetwork` and `ImageNetCellNetwork`: stages of cells, a classifier, optionally an auxiliary head.

    Args:
        stems: Attribute name -> layers before the first cell. The subclass determines the names.
        stages: The cells of each stage, in the order in which they run.
        channels: Number of channels of the last cell's output.
        num_labels: Number of classes.
        auxiliary_head: Head that reads the output of the first cell of the third stage, in training only; None means that there
            is no auxiliary head.
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
        """Sets `drop_path_prob` of all cells: the probability with which an edge is set to zero in training, for each sample.

        DARTS increases it linearly, with `net.set_drop_path_prob(highest * epoch / epochs)` before each epoch.

        Raises:
            SpaceError: `prob` is not in [0, 1).
        """
        check_drop_path_prob(prob, where="drop_path_prob")
        for module in self.modules():
            if isinstance(module, Cell):
                module.drop_path_prob = prob

    def _classify(self, before: torch.Tensor, last: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Runs cells and classifier; returns the logits, in training with an auxiliary head (logits, logits of that head).

        Args:
            before: First input of the first cell.
            last: Second input of the first cell.
        """
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
    """A network of cells for small images; the first cell reads the output of the stem as both of its inputs.

    The arguments are those of `CellNetwork`; `stems` must have the one name "stem".

    Shapes:
        forward: x (batch, 3, height, width) -> logits (batch, num_labels). In training with an auxiliary head, the
            result is the pair (logits, logits of the auxiliary head).
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        state = self.stem(x)  # type: ignore[operator]
        return self._classify(state, state)


class ImageNetCellNetwork(CellNetwork):
    """A network of cells for large images; the first cell reads the outputs of `stem0` and `stem1`.

    `stem1` reads the output of `stem0`. In the NASNet family, `stem0` divides height and width by four, `stem1` by two more.
    The arguments are those of `CellNetwork`; `stems` must have the two names "stem0" and "stem1".

    Shapes:
        forward: x (batch, 3, height, width) -> logits (batch, num_labels). In training with an auxiliary head, the
            result is the pair (logits, logits of the auxiliary head).
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        state = self.stem0(x)  # type: ignore[operator]
        return self._classify(state, self.stem1(state))  # type: ignore[operator]
