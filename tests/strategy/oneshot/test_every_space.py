"""One matrix: every space under every one-shot strategy."""

from __future__ import annotations

import math

import pytest
import torch

from hubserve.space import AnyOf
from hubserve.strategy import DARTS, ENAS, GumbelDARTS, Proxyless, RandomOneShot
from hubserve.supernet import Supernet
from tests.marks import slow_but
from tests.strategy.oneshot.data import Noise
from tests.supernet.spaces import TINY, Small, images

SPACES = {**TINY, "Small": Small()}
QUICK = {"Small", "NasBench201"}
"""Choices of layers, of numbers and on edges."""
STRATEGIES = {
    "DARTS": lambda: DARTS(),
    "GumbelDARTS": lambda: GumbelDARTS(),
    "Proxyless": lambda: Proxyless(),
    "ENAS": lambda: ENAS(batches_per_update=2, final_samples=2),
    "RandomOneShot": lambda: RandomOneShot(),
}


@pytest.mark.parametrize("name", slow_but(SPACES, QUICK))
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_searches(strategy, name):
    space = SPACES[name]
    result = STRATEGIES[strategy]().run(space, Noise(batches=1 if strategy != "ENAS" else 2), device="cpu")
    assert all(math.isfinite(row["train_loss"]) for row in result.history)
    assert not result.stopped
    assert result.memory_bytes > 0
    assert isinstance(result.supernet, Supernet)
    if strategy == "RandomOneShot":
        assert result.arch is None
    else:
        assert space.canonical(result.arch) == result.arch
        with torch.no_grad():
            assert result.supernet.extract(result.arch)(images()).shape == (2, 10)
    if strategy in ("DARTS", "GumbelDARTS", "Proxyless"):
        row = result.history[-1]
        for label, probabilities in row["probabilities"].items():
            choice = space.choices[label]
            assert list(probabilities) == [str(candidate) for candidate in choice.candidates]
            if not isinstance(choice, AnyOf):
                assert sum(probabilities.values()) == pytest.approx(1.0, abs=1e-5)
            assert row["entropy"][label] > 0
