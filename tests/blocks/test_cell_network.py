"""Networks of cells: who reads whom, the auxiliary head, and drop path in all cells."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hubserve.blocks import AuxiliaryHead, Cell, CifarCellNetwork, ImageNetCellNetwork
from hubserve.blocks.cell_network import CellNetwork
from hubserve.errors import SpaceError


class Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x


def a_cell(before: float, last: float) -> Cell:
    """before * the output before the last one + last * the last one."""
    nodes = [[(Scaled(before), 0), (Scaled(last), 1)]]
    return Cell(nodes, preprocess=[nn.Identity(), nn.Identity()])


def stages() -> list[list[Cell]]:
    return [[a_cell(1, 10)], [a_cell(2, 3), a_cell(5, 7)], [a_cell(1, 1), a_cell(0, 4)]]


def identity_classifier(net: CellNetwork) -> CellNetwork:
    nn.init.eye_(net.classifier.weight)
    nn.init.zeros_(net.classifier.bias)
    return net


def by_hand(before: torch.Tensor, last: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The last output, and that of the third stage's first cell."""
    c1 = before + 10 * last
    c2 = 2 * last + 3 * c1
    c3 = 5 * c1 + 7 * c2
    c4 = c2 + c3
    return 4 * c4, c4


X = torch.randn(2, 3, 8, 8)


def test_cifar():
    net = identity_classifier(CifarCellNetwork({"stem": Scaled(2.0)}, stages(), channels=3, num_labels=3))
    torch.testing.assert_close(net(X), by_hand(2 * X, 2 * X)[0].mean((2, 3)))


def test_imagenet():
    stems = {"stem0": Scaled(2.0), "stem1": Scaled(5.0)}
    net = identity_classifier(ImageNetCellNetwork(stems, stages(), channels=3, num_labels=3))
    torch.testing.assert_close(net(X), by_hand(2 * X, 10 * X)[0].mean((2, 3)))


class TestAuxiliaryHead:
    def test_reads_the_first_cell_of_the_third_stage_in_training(self):
        head = AuxiliaryHead(3, 5, stride=3)
        net = identity_classifier(
            CifarCellNetwork({"stem": nn.Identity()}, stages(), channels=3, num_labels=3, auxiliary_head=head)
        )
        logits, auxiliary = net.train()(X)
        last, inner = by_hand(X, X)
        torch.testing.assert_close(logits, last.mean((2, 3)))
        torch.testing.assert_close(auxiliary, head(inner))
        assert isinstance(net.eval()(X), torch.Tensor)

    @pytest.mark.parametrize(("stride", "size"), [(3, 8), (2, 7), (3, 16), (2, 9)])
    def test_shapes(self, stride, size):
        assert AuxiliaryHead(4, 10, stride=stride)(torch.randn(2, 4, size, size)).shape == (2, 10)

    def test_on_a_state_of_its_data_set_it_averages_nothing(self):
        for stride, size in ((3, 8), (2, 7)):
            assert AuxiliaryHead(4, 10, stride=stride).features(torch.randn(2, 4, size, size)).shape == (2, 768, 1, 1)

    def test_parameters(self):
        # 1x1 to 128, 2x2 to 768, a batch norm behind each, and a matrix with its bias.
        expected = 4 * 128 + 2 * 128 + 4 * 128 * 768 + 2 * 768 + 768 * 10 + 10
        assert sum(p.numel() for p in AuxiliaryHead(4, 10, stride=3).parameters()) == expected


def test_drop_path_is_set_in_all_cells():
    net = CifarCellNetwork({"stem": nn.Identity()}, stages(), channels=3, num_labels=3)
    net.set_drop_path_prob(0.3)
    assert [cell.drop_path_prob for stage in net.stages for cell in stage] == [0.3] * 5
    with pytest.raises(SpaceError, match=r"drop_path_prob = 1\.5"):
        net.set_drop_path_prob(1.5)
