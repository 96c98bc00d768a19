"""The interface of a loaded model: a batch of prepared images in, logits out."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Batch = NDArray[np.float32]


class Runner(Protocol):
    """A loaded model.

    Attributes:
        name: What runs it: "eager", "openvino", or the name of an exported format.
        device: Where it runs: "cpu" or "cuda".
    """

    name: str
    device: str

    def __call__(self, batch: Batch) -> Batch:
        """Prepared images (n, 3, height, width) -> logits (n, classes)."""
        ...
