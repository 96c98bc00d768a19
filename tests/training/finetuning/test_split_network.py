"""Early layers and the rest compute what the network computes, for every card."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hubserve.cards.card import load_card
from hubserve.hub.registry import card_space
from hubserve.training.finetuning.split_network import EARLY_WEIGHTS, split_network
from tests.hub.image_spaces import IMAGE_CARDS
from tests.marks import slow_but

QUICK = {"efficientnet-lite0", "mobilenetv3-small-050", "darts-v2"}
WHOLE = {"darts-v2", "autoformer-base", "autoformer-small", "autoformer-tiny"}
"""An auxiliary head that is there in training alone; patches that are many numbers with many weights."""


@pytest.mark.parametrize("name", slow_but(IMAGE_CARDS, QUICK))
def test_both_parts_are_the_network(name):
    card = load_card(name)
    model = card_space(card).freeze(card.arch).eval()
    example = torch.randn(2, 3, *(card.preprocess.input_size if name in WHOLE else 96,) * 2)
    split = split_network(model, example)
    if name in WHOLE:
        assert split.early is None
        assert split.rest is model
        return
    assert split.early is not None
    with torch.no_grad():
        features = split.early(example)
        assert tuple(features.shape[1:]) == split.shape
        assert torch.equal(split.rest(features), model(example))
    weights = [sum(parameter.numel() for parameter in part.parameters()) for part in (split.early, split.rest, model)]
    assert weights[0] + weights[1] == weights[2]
    assert 0 < weights[0] <= EARLY_WEIGHTS * weights[2]


def test_the_parts_share_the_weights_of_the_network():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 64, 3), nn.Flatten(), nn.Linear(64, 64 * 9))
    split = split_network(model, torch.randn(2, 3, 7, 7), share=0.1)
    assert {id(parameter) for parameter in split.rest.parameters()} < {id(parameter) for parameter in model.parameters()}


def test_a_share_of_zero_leaves_it_whole():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Flatten(), nn.LazyLinear(64))
    model(torch.randn(2, 3, 7, 7))
    assert split_network(model, torch.randn(2, 3, 7, 7), share=0.0).early is None


class Branching(nn.Module):
    """Decides by the values, which torch.fx cannot trace."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 400, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.last(x) if x.sum() > 0 else self.last(-x)


def test_a_network_that_cannot_be_traced_is_left_whole():
    model = Branching().eval()
    assert split_network(model, torch.randn(2, 3, 9, 9)).rest is model
    assert not model.training
