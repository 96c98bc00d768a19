"""The interfaces of loaded models: `Runner` computes logits of prepared images, `TensorRunner` takes any inputs."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hubserve.errors import LogitsError

Batch = NDArray[np.float32]

DAY = 86_400.0
"""The number of seconds in a day: the default time limit of a call of a model."""


class Runner(Protocol):
    """A loaded model: called with a batch of prepared images, it returns their logits.

    Attributes:
        name: What computes the logits: "eager" (PyTorch), "openvino", or the name of an exported format.
        device: Device on which the model runs: "cpu" or "cuda".
    """

    name: str
    device: str

    def __call__(self, batch: Batch) -> Batch:
        """Returns the logits (n, classes) of a batch of prepared images (n, 3, height, width), both float32.

        Each class that implements this names the errors that it raises.
        """
        ...


class FeatureRunner(Runner, Protocol):
    """A loaded model that also gives the features of images: the input of the layer that computes the logits."""

    def with_features(self, batch: Batch) -> tuple[Batch, Batch]:
        """Returns the logits (n, classes) and the features (n, width) of a batch of prepared images (n, 3, height, width)."""
        ...


class TensorRunner(Protocol):
    """A loaded model of any inputs and outputs.

    Attributes:
        name: What computes the outputs: "eager" (PyTorch), or the name of an exported format.
        device: Device on which the model runs: "cpu" or "cuda".
    """

    name: str
    device: str

    def run(self, inputs: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        """Returns the outputs for a batch of inputs, both in the order of the model's signature.

        Raises:
            ExportError: The model cannot be run on these inputs.
        """
        ...


def check_finite(logits: NDArray[np.floating]) -> None:
    """Checks that all logits are finite, as there is no best class otherwise; or that all features are.

    Raises:
        LogitsError: A logit or feature is NaN or infinite.
    """
    if not np.isfinite(logits).all():
        raise LogitsError(
            "the model's answer is not finite: some of its logits are NaN or infinite; the input may be far from what it was "
            "trained on, or its weights are wrong"
        )
