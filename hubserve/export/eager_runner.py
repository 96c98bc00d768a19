"""Eager PyTorch as a runner: the reference that every exported format is compared with."""

import torch
from torch import nn

from hubserve.package.runner import Batch


class EagerRunner:
    """Runs a PyTorch module itself, in eval mode.

    Args:
        model: Network; it is moved to `device` and put in eval mode, not copied.
        device: Device of torch on which it runs, such as "cpu" or "cuda".
    """

    name = "eager"

    def __init__(self, model: nn.Module, *, device: str = "cpu") -> None:
        self.device = device
        self._model = model.to(device).eval()

    def __call__(self, batch: Batch) -> Batch:
        with torch.inference_mode():
            logits: Batch = self._model(torch.from_numpy(batch).to(self.device)).cpu().numpy()
        return logits
