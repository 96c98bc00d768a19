"""Eager PyTorch as a runner: the reference that every exported format is compared with."""

from __future__ import annotations

import copy

import torch
from torch import nn

from hubserve.package.runner import Batch


class EagerRunner:
    """The PyTorch module itself, in eval mode: what the other forms are measured against."""

    name = "eager"

    def __init__(self, model: nn.Module, *, device: str = "cpu") -> None:
        self.device = device
        self._model = copy.deepcopy(model).to(device).eval()

    def __call__(self, batch: Batch) -> Batch:
        with torch.inference_mode():
            logits: Batch = self._model(torch.from_numpy(batch).to(self.device)).cpu().numpy()
        return logits
