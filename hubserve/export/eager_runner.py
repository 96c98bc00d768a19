"""The runner of eager PyTorch, which is the reference that every exported format is compared with."""

import torch
from torch import nn

from hubserve.errors import ExportError
from hubserve.last_layer import InputRecorder, last_layer
from hubserve.package.runner import Batch


class EagerRunner:
    """Runner that calls a PyTorch module, in eval mode.

    It is called with preprocessed images, (n, 3, height, width) float32, and returns their logits, (n, classes), both as numpy
    arrays.

    Args:
        model: Network; it is not copied, but moved to `device` and put in eval mode.
        device: Device of torch on which the network runs, such as "cpu" or "cuda".
    """

    name = "eager"

    def __init__(self, model: nn.Module, *, device: str = "cpu") -> None:
        self.device = device
        self._model = model.to(device).eval()
        self._last: nn.Module | None = None

    def __call__(self, batch: Batch) -> Batch:
        with torch.inference_mode():
            logits: Batch = self._model(torch.from_numpy(batch).to(self.device)).cpu().numpy()
        return logits

    def with_features(self, batch: Batch) -> tuple[Batch, Batch]:
        """Returns the logits (n, classes) and the features (n, width) of a batch: the input of the layer that computes them.

        Raises:
            ExportError: Neither a linear layer nor a convolution computes the logits.
        """
        self._last = self._last or last_layer(self._model, torch.from_numpy(batch).to(self.device))
        if self._last is None:
            raise ExportError(f"the logits of {type(self._model).__name__} come from neither a linear layer nor a convolution")
        with InputRecorder(self._last) as recorder:
            logits = self(batch)
        features: Batch = recorder.features().float().cpu().numpy()
        return logits, features
