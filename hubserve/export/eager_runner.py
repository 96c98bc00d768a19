"""The runner of eager PyTorch, which is the reference that every exported format is compared with."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hubserve.error_messages import first_line
from hubserve.errors import ExportError
from hubserve.last_layer import InputRecorder, last_layer
from hubserve.package.runner import Batch


class EagerRunner:
    """Runner that calls a PyTorch module, in eval mode.

    It is called with preprocessed images, (n, 3, height, width) float32, and returns their logits, (n, classes), both as numpy
    arrays. A call raises ExportError if the module raises an exception, or returns anything but a float32 tensor with one row
    for each image.

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
        name = type(self._model).__name__
        with self._explained(batch), torch.inference_mode():
            answer = self._model(torch.from_numpy(batch).to(self.device))
        if not _are_logits(answer, len(batch)):
            raise ExportError(
                f"{name} answers images {batch.shape} with {_described(answer)}; expected their logits, a float32 tensor "
                f"({len(batch)}, classes){_hint(answer, len(batch))}"
            )
        logits: Batch = answer.cpu().numpy()
        return logits

    def with_features(self, batch: Batch) -> tuple[Batch, Batch]:
        """Returns the logits (n, classes) of a batch, and its features (n, width): the input of the layer that computes logits.

        Raises:
            ExportError: Neither a linear layer nor a convolution computes the logits, or a call of this runner raises it.
        """
        with self._explained(batch):
            self._last = self._last or last_layer(self._model, torch.from_numpy(batch).to(self.device))
        if self._last is None:
            raise ExportError(f"the logits of {type(self._model).__name__} come from neither a linear layer nor a convolution")
        with InputRecorder(self._last) as recorder:
            logits = self(batch)
        features: Batch = recorder.features().float().cpu().numpy()
        return logits, features

    @contextmanager
    def _explained(self, batch: Batch) -> Iterator[None]:
        """Turns what the network raises in the block, which runs it on `batch`, into an ExportError."""
        try:
            yield
        except Exception as error:  # A network may raise anything.
            said = f"{type(error).__name__}: {first_line(error)}"
            raise ExportError(f"{type(self._model).__name__} cannot be run on images {batch.shape}: {said}") from error


def _are_logits(answer: Any, images: int) -> bool:
    return isinstance(answer, Tensor) and answer.dtype == torch.float32 and answer.ndim == 2 and len(answer) == images


def _described(answer: Any) -> str:
    if isinstance(answer, Tensor):
        return f"a tensor {tuple(answer.shape)} of {str(answer.dtype).removeprefix('torch.')}"
    if isinstance(answer, Mapping):
        return f"a {type(answer).__name__} with the keys {', '.join(map(str, answer)) or '(none)'}"
    if isinstance(answer, list | tuple):
        return f"a {type(answer).__name__} of {len(answer)}"
    return f"a {type(answer).__name__}"


def _hint(answer: Any, images: int) -> str:
    """Returns advice on how to make the logits of n = `images` images of an answer, after "; "; empty if there is none."""
    if not isinstance(answer, Tensor):
        return "; wrap it in a module whose forward returns the logits alone"
    if answer.ndim > 2 and len(answer) == images and answer.numel() == images * answer.shape[1]:
        return "; flatten them: logits.flatten(1)"
    if answer.ndim < 2:
        return "; keep the axis of the batch: squeeze() removes it from a single image, flatten(1) keeps it"
    return ""
