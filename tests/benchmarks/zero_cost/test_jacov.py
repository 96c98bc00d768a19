"""jacov on networks whose gradients are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hubserve.benchmarks.zero_cost import jacov

K = 1e-5


class SumOfActive(nn.Module):
    """The gradient of the output has a 1 for each pixel above 0, and a 0 for the others."""

    def forward(self, x):
        return torch.relu(x).sum(1, keepdim=True)


def expected(*eigenvalues: float) -> float:
    return -sum(math.log(value + K) + 1 / (value + K) for value in eigenvalues)


@pytest.mark.parametrize(
    ("first", "second", "eigenvalues"),
    [
        ((1, 1, -1, -1), (1, -1, 1, -1), (1, 1)),  # no correlation
        ((1, 1, -1, -1), (-1, -1, 1, 1), (2, 0)),  # a correlation of -1
        ((1, 1, -1, -1), (2, 3, -1, -1), (2, 0)),  # equal gradients
        ((1, 1, 1, 1), (1, -1, 1, -1), (1, 0)),  # a constant gradient has no correlation
        ((1, 1, 1, 1), (-1, -1, -1, -1), (0, 0)),
    ],
)
def test_known_gradients(first, second, eigenvalues):
    images = torch.tensor([first, second], dtype=torch.float32)
    # Where 1 / (s + k) is large, rounding of s changes it.
    assert jacov(SumOfActive(), (images, torch.zeros(2))) == pytest.approx(expected(*eigenvalues), rel=1e-6)


def test_a_linear_network_reacts_to_all_images_alike():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    assert jacov(network, (torch.randn(4, 3, 2, 2), torch.zeros(4))) == pytest.approx(expected(4, 0, 0, 0), rel=1e-3)


def test_a_network_whose_output_does_not_depend_on_the_image():
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, 3))

        def forward(self, x):
            return self.weight.expand(len(x), 3)

    assert jacov(Constant(), (torch.randn(2, 4), torch.zeros(2))) == pytest.approx(expected(0, 0))


def test_a_first_layer_that_works_in_place():
    images = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    assert jacov(nn.ReLU(inplace=True), (images, torch.zeros(2))) == pytest.approx(expected(2, 0))
    assert images.tolist() == [[1.0, -1.0], [-1.0, 1.0]]
