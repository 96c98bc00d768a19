"""Work that is done in each step grows with the number of choices, and not with its square."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from hubserve.space import ModelSpace
from hubserve.strategy import DARTS, GumbelDARTS, Proxyless
from tests.strategy.oneshot.data import Noise


@dataclass(frozen=True)
class Chain(ModelSpace):
    """One layer choice after the other."""

    n: int

    def build(self, pick):
        layers = [pick.layer(f"op{i}", {"a": nn.Identity, "b": nn.Tanh}) for i in range(self.n)]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))


def calls(run: Callable[[], object]) -> int:
    """Number of calls of Python functions and of C functions in `run`."""
    found = 0

    def count(frame, event, argument):
        nonlocal found
        found += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        run()
    finally:
        sys.setprofile(None)
    return found


@pytest.mark.parametrize(
    ("strategy", "blends"),
    [(DARTS(), "blends"), (GumbelDARTS(), "blends"), (Proxyless(), "draw_blends")],
    ids=["DARTS", "GumbelDARTS", "Proxyless"],
)
def test_weighing_the_candidates(strategy, blends):
    def made(n):
        search = strategy.search(Chain(n), Noise(), seed=0, total_steps=1)
        assert len(search.net.blended) == n
        torch.manual_seed(0)
        getattr(search, blends)()  # What is cached is made here.
        return calls(getattr(search, blends))

    few, many = made(8), made(64)
    assert many <= 8.5 * few


def test_a_whole_step_asks_for_no_list_of_logits_more_often_with_more_choices(monkeypatch):
    looked_up = []
    real = nn.ParameterDict.__getitem__
    monkeypatch.setattr(nn.ParameterDict, "__getitem__", lambda self, key: looked_up.append(key) or real(self, key))

    def steps(n):
        evaluator = Noise()
        search = DARTS().search(Chain(n), evaluator, seed=0, total_steps=2)
        search.prepare(evaluator.batches[0][0])
        search.begin(0, iter(evaluator.batches))
        looked_up.clear()
        search.step(*evaluator.batches[0])
        return len(looked_up)

    assert steps(4) == steps(16) == 0
