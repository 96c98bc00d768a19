"""Inputs that are a list, tuple or dict, in the evaluators that train a network."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from hubserve.errors import EvaluatorError
from hubserve.evaluator import Classification, MultipleEvaluation, Regression
from hubserve.training.evaluator import Trial
from tests.nested_inputs import KINDS, Pairs, TwoInputs

ARCH = {"width": 8, "op": "deep", "depth": 1}


@pytest.mark.parametrize("loader", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [Classification, Regression])
def test_an_arch_is_evaluated(make, kind, loader):
    numbers = make is Regression
    data = Pairs(kind, numbers=numbers)
    given = DataLoader(data, batch_size=4, shuffle=True) if loader else data
    evaluator = make(train_dataloaders=given, val_dataloaders=given, batch_size=4, max_epochs=2, accelerator="cpu")
    scores = MultipleEvaluation(evaluator, 2).evaluate(TwoInputs(outputs=1 if numbers else 4), ARCH, Trial(seed=1))
    assert all(map(math.isfinite, scores.values()))


def test_targets_may_be_a_dict():
    """A subclass with its own loss and score reads whatever targets and outputs there are."""

    class TwoHeads(Classification):
        def loss(self, output, target):
            return sum(nn.functional.cross_entropy(output[name], target[name]) for name in output)

        def score(self, output, target):
            assert all(logits.dtype is torch.float32 for logits in output.values())
            return torch.stack([output[name].argmax(1) == target[name] for name in output]).float().mean(0)

    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x):
            return {"a": self.a(x), "b": self.b(x)}

    data = [(torch.randn(3), {"a": i % 2, "b": 1}) for i in range(6)]
    loader = DataLoader(data, batch_size=3)
    scores = TwoHeads(train_dataloaders=loader, val_dataloaders=loader, max_epochs=1, accelerator="cpu").fit(Heads())
    assert 0.0 <= scores["val_acc"] <= 1.0


class Returns(nn.Module):
    def __init__(self, nest):
        super().__init__()
        self.layer, self.nest = nn.Linear(3, 2), nest

    def forward(self, x):
        return self.nest(self.layer(x))


@pytest.mark.parametrize(("make", "target"), [(Classification, 1), (Regression, torch.zeros(2))])
def test_an_output_that_has_no_score(make, target):
    loader = DataLoader([(torch.randn(3), target)] * 4, batch_size=2)
    evaluator = make(train_dataloaders=loader, val_dataloaders=loader, max_epochs=1, accelerator="cpu")
    with pytest.raises(EvaluatorError, match=r"in eval mode the network returns a tuple.*if not self.training"):
        evaluator.fit(Returns(lambda y: (y, y)))


def test_a_batch_that_is_no_pair():
    loader = DataLoader([(torch.zeros(3), 1, 2)] * 4, batch_size=2)
    evaluator = Classification(train_dataloaders=loader, val_dataloaders=loader, max_epochs=1, accelerator="cpu")
    with pytest.raises(EvaluatorError, match="a batch is a list of 3 and must be a pair"):
        evaluator.fit(nn.Linear(3, 2))
