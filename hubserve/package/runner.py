"""What every exported form of a model becomes when it is loaded: pictures in, logits out."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

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
