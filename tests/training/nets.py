"""Small networks and data for tests of training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import TensorDataset

from hubserve.space import ModelSpace, Picker


@dataclass(frozen=True)
class Mlp(ModelSpace):
    """For images (batch, 3, 8, 8) and 10 classes."""

    def build(self, pick: Picker) -> nn.Module:
        width = pick("width", (16, 64))
        return nn.Sequential(nn.Flatten(), nn.Linear(192, width), nn.ReLU(), nn.Linear(width, 10))


def line(n: int = 64, seed: int = 0) -> TensorDataset:
    """Inputs (n, 3), targets (n,) that a linear layer can predict but for a little noise."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, 3, generator=generator)
    return TensorDataset(inputs, inputs @ torch.tensor([1.0, -2.0, 0.5]) + 0.01 * torch.randn(n, generator=generator))


def blobs(n: int = 64, seed: int = 0) -> TensorDataset:
    """Inputs (n, 3) around three corners, and which of them."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(n) % 3
    return TensorDataset(torch.eye(3)[targets] * 2 + 0.3 * torch.randn(n, 3, generator=generator), targets)
