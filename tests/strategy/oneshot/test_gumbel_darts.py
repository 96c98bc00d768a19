"""The temperature of GumbelDARTS, and the noise that it draws, against the probabilities of the candidates."""

from __future__ import annotations

import pytest
import torch

from hubserve.errors import StrategyError
from hubserve.space import AnyOf, OneOf
from hubserve.strategy import GumbelDARTS
from tests.strategy.oneshot.data import Noise
from tests.supernet.spaces import Small


def test_the_temperature_falls_linearly():
    strategy = GumbelDARTS()
    assert [strategy.temperature_at(epoch, 5) for epoch in range(5)] == pytest.approx([1.0, 0.8325, 0.665, 0.4975, 0.33])
    assert strategy.temperature_at(0, 1) == 1.0
    assert GumbelDARTS(temperature=0.5).temperature_at(3, 9) == 0.5


def test_a_search_uses_the_temperature_of_its_epoch():
    evaluator = Noise(epochs=3)
    search = GumbelDARTS(temperature=(1.0, 0.001)).search(Small(), evaluator, seed=0, total_steps=1)
    sharpest = []
    for epoch in range(3):
        search.begin(epoch, iter(()))
        sharpest.append(min(float(blend.weights.detach().max()) for blend in search.blends().values()))
    assert sharpest[2] > 0.999 > sharpest[0]


def test_draws_are_as_likely_as_their_candidates():
    """The largest weight falls on each candidate with its probability, whatever the temperature (Gumbel-max)."""
    torch.manual_seed(0)
    choice, logits = OneOf("c", (0, 1, 2)), torch.tensor([0.0, 1.0, 2.0])
    draws = torch.stack([choice.relaxation.draw_relaxed(logits, 0.5) for _ in range(4000)])
    assert torch.allclose(draws.sum(1), torch.ones(4000), atol=1e-5)
    shares = torch.bincount(draws.argmax(1), minlength=3) / 4000
    assert torch.allclose(shares, logits.softmax(0), atol=0.03)


def test_inputs_of_any_subset_are_drawn_one_by_one():
    torch.manual_seed(0)
    choice = AnyOf("c", (0, 1))
    draws = torch.stack([choice.relaxation.draw_relaxed(torch.tensor([-1.0, 1.0]), 0.1) for _ in range(2000)])
    assert torch.allclose((draws > 0.5).float().mean(0), torch.tensor([-1.0, 1.0]).sigmoid(), atol=0.04)


def test_temperatures_must_be_above_0():
    with pytest.raises(StrategyError, match="temperature"):
        GumbelDARTS(temperature=(1.0, 0.0))
