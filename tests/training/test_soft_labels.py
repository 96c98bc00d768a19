"""A network that agrees with its teacher has no gradient."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from hubserve.errors import EvaluatorError
from hubserve.evaluator import Classification, Regression
from hubserve.training.evaluator import TrainingEvaluator
from hubserve.training.soft_labels import soft_cross_entropy


def test_the_gradient_is_the_difference_of_the_probabilities():
    teacher = torch.randn(4, 3, requires_grad=True)
    logits = torch.randn(4, 3, requires_grad=True)
    soft_cross_entropy(logits, teacher).backward()
    assert teacher.grad is None
    torch.testing.assert_close(logits.grad, (logits.softmax(1) - teacher.softmax(1)).detach() / 4)


def test_evaluators_distil_as_suits_them():
    data = TensorDataset(torch.zeros(2, 3), torch.zeros(2))
    logits, teacher = torch.randn(4, 3), torch.randn(4, 3)
    assert torch.equal(Classification().distillation_loss(logits, teacher), soft_cross_entropy(logits, teacher))
    both = Classification(auxiliary_weight=0.5).distillation_loss((logits, logits), (teacher, logits))
    torch.testing.assert_close(both, 1.5 * soft_cross_entropy(logits, teacher))
    found = Regression(train_dataloaders=data).distillation_loss(logits, teacher)
    torch.testing.assert_close(found, nn.functional.mse_loss(logits, teacher))
    with pytest.raises(EvaluatorError, match="has no distillation_loss"):
        TrainingEvaluator.distillation_loss(Classification(), logits, teacher)
