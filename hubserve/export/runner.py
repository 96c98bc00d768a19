"""What every exported form of a model becomes when it is loaded: pictures in, logits out."""

from __future__ import annotations

import copy
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Batch = NDArray[np.float32]


class Runner(Protocol):
    """A loaded model.

    Attributes:
        name: of the form: "eager", "torchscript", "onnx".
        device: "cpu" or "cuda".
    """

    name: str
    device: str

    def __call__(self, batch: Batch) -> Batch:
        """Prepared pictures (n, 3, height, width) -> logits (n, classes)."""
        ...


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
