"""Heads that are fitted to features: with and without a bias, the accuracy that is told is that of the layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hubserve.training.finetuning.head import HeadInputs, train_head


@pytest.mark.parametrize("bias", [True, False])
def test_the_layer_has_the_accuracy_that_is_told(bias):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    # Far from the origin, so that inputs that are centred need a bias.
    inputs = 5 + 0.5 * torch.randn(90, 4, generator=generator) + torch.eye(3, 4)[labels] * 2
    found = HeadInputs(inputs, labels)
    head = nn.Linear(4, 3, bias=bias)
    accuracy = train_head(head, found, found, None)
    assert accuracy == pytest.approx(float((head(inputs).argmax(1) == labels).float().mean()))
    assert accuracy > 0.9
