"""Training to predict numbers: smaller is better, and shapes are not broadcast by accident."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from hubserve.errors import EvaluatorError
from hubserve.evaluator import Objective, Regression
from tests.training.nets import line


def test_it_learns_and_smaller_is_better():
    evaluator = Regression(train_dataloaders=line(256), val_dataloaders=line(seed=1), learning_rate=0.1, max_epochs=15)
    assert evaluator.objectives == (Objective("val_mse", "minimize"),)
    torch.manual_seed(0)
    scores = evaluator.fit(nn.Linear(3, 1))
    assert scores["val_mse"] < 0.01
    assert scores["val_loss"] == pytest.approx(scores["val_mse"], rel=1e-4)


def test_a_column_is_compared_with_its_own_target():
    targets = torch.tensor([1.0, 2.0, 3.0])
    data = TensorDataset(targets[:, None] + 0.5, targets)
    assert Regression(val_dataloaders=data).validate(nn.Identity())["val_mse"] == pytest.approx(0.25)


def test_several_numbers_are_averaged():
    data = TensorDataset(torch.zeros(4, 2), torch.tensor([[1.0, 3.0]]).repeat(4, 1))
    assert Regression(val_dataloaders=data).validate(nn.Identity())["val_mse"] == pytest.approx(5.0)


def test_other_shapes_are_refused():
    data = TensorDataset(torch.zeros(4, 2), torch.zeros(4))
    with pytest.raises(EvaluatorError, match=r"shape \(4, 2\) and the targets have \(4,\)"):
        Regression(val_dataloaders=data).validate(nn.Identity())
