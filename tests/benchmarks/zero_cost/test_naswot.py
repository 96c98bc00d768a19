"""naswot on networks whose ReLU codes are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from hubserve.benchmarks.zero_cost import naswot
from hubserve.errors import EvaluatorError, UndefinedScoreError

IMAGES = torch.tensor([[1.0, -1.0, 2.0, -3.0], [4.0, 1.0, -1.0, -2.0], [-1.0, 7.0, -1.0, 1.0]])
"""Their codes are 1010, 1100 and 0101, so the kernel is 4 2 0 / 2 4 2 / 0 2 4, with the determinant 32."""

BATCH = (IMAGES, torch.zeros(3, dtype=torch.long))


class Functional(nn.Module):
    def __init__(self, activation) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x):
        return self.activation(x)


@pytest.mark.parametrize(
    "relu",
    [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.ReLU6(),
        nn.ReLU6(inplace=True),
        nn.LeakyReLU(),
        nn.PReLU(),
        Functional(torch.relu),
        Functional(functional.relu6),
        Functional(torch.relu_),
    ],
    ids=str,
)
def test_known_codes(relu):
    before = IMAGES.clone()
    assert naswot(relu, BATCH) == pytest.approx(math.log(32))
    assert torch.equal(IMAGES, before)


def test_codes_of_several_layers_add_up():
    # The codes of the second ReLU are those of the first, which makes twice the kernel.
    assert naswot(nn.Sequential(nn.ReLU(), nn.ReLU()), BATCH) == pytest.approx(math.log(8 * 32))


def test_channels_and_pixels_are_bits():
    images = IMAGES.reshape(3, 1, 2, 2)
    assert naswot(nn.ReLU(), (images, BATCH[1])) == pytest.approx(math.log(32))


def test_images_with_equal_codes_have_a_low_score_that_is_finite():
    batch = (torch.ones(2, 4), torch.zeros(2))
    # The kernel 4 4 / 4 4 has the eigenvalues 8 and 0.
    assert naswot(nn.ReLU(), batch) == pytest.approx(math.log(8) + math.log(8 * 2 * torch.finfo(torch.float64).eps))


def test_batch_norms_use_the_statistics_of_the_batch():
    norm = nn.BatchNorm1d(4)
    norm.running_mean += 1000
    # Every channel has inputs of both signs around its mean.
    assert naswot(nn.Sequential(norm, nn.ReLU()), BATCH) > naswot(nn.ReLU(), (IMAGES - 1000, BATCH[1]))


@pytest.mark.parametrize("activation", [nn.GELU(), nn.Hardswish(), nn.Hardtanh(), nn.Identity()], ids=str)
def test_networks_without_relu_are_refused(activation):
    with pytest.raises(UndefinedScoreError, match=r"not defined for Sequential: it has no ReLU\. snip and jacov are defined"):
        naswot(nn.Sequential(nn.Linear(4, 2), activation), BATCH)


@pytest.mark.parametrize(
    ("images", "targets"),
    [(torch.ones(1, 4), [0]), (torch.ones(3, 4), [0, 1]), ([1, 2], [0, 1])],
    ids=["one image", "more than targets", "a list"],
)
def test_batches_that_are_refused(images, targets):
    with pytest.raises(EvaluatorError, match="at least two images and as many targets"):
        naswot(nn.ReLU(), (images, torch.tensor(targets)))
