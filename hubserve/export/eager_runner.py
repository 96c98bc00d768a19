"""The runner of eager PyTorch, which is the reference that every exported format is compared with."""

import torch
from torch import nn

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

    def __call__(self, batch: Batch) -> Batch:
        with torch.inference_mode():
            logits: Batch = self._model(torch.from_numpy(batch).to(self.device)).cpu().numpy()
        return logits
