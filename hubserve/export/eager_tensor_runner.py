"""The runner of eager PyTorch for models of any inputs: the reference that their exported formats are compared with."""

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hubserve.error_messages import first_line
from hubserve.errors import ExportError
from hubserve.package.example_arrays import BATCH_AXIS
from hubserve.package.manifest import OutputEntry
from hubserve.package.signature import ModelSignature


class EagerTensorRunner:
    """Runner that calls a PyTorch module of any inputs, in eval mode.

    Args:
        model: Network; it is not copied, but moved to `device` and put in eval mode.
        signature: Inputs of the network, in the order of its arguments, and outputs, in the order in which it returns them.
        device: Device of torch on which the network runs, such as "cpu" or "cuda".
    """

    name = "eager"

    def __init__(self, model: nn.Module, signature: ModelSignature, *, device: str = "cpu") -> None:
        self.device = device
        self._model = model.to(device).eval()
        self._signature = signature

    def run(self, inputs: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        """Returns the outputs for a batch of inputs, one array for each; both are in the order of the signature.

        Raises:
            ExportError: The network raises an exception, or returns something else than its signature says.
        """
        name, shapes = type(self._model).__name__, ", ".join(str(array.shape) for array in inputs)
        try:
            with torch.inference_mode():
                answer = self._model(*(torch.from_numpy(array).to(self.device) for array in inputs))
        except Exception as error:  # A network may raise anything.
            raise ExportError(
                f"{name} cannot be run on {self._signature.described} of shapes {shapes}: {type(error).__name__}: "
                f"{first_line(error)}"
            ) from error
        outputs = tuple(answer) if isinstance(answer, list | tuple) else (answer,)
        wanted = self._signature.outputs
        if len(outputs) != len(wanted) or not all(
            _fits(entry, output, len(inputs[0])) for entry, output in zip(wanted, outputs, strict=True)
        ):
            raise ExportError(
                f"{name} answers {shapes} with {', '.join(map(_described, outputs))}; its outputs are said to be "
                f"{self._signature.described_outputs}"
            )
        return tuple(output.cpu().numpy() for output in outputs)


def _fits(entry: OutputEntry, output: Any, rows: int) -> bool:
    """Returns whether an output is a tensor of the type and shape of its entry, in which "batch" is `rows`.

    Other named axes may have any length.
    """
    if not isinstance(output, Tensor) or str(output.dtype) != f"torch.{entry.dtype}" or output.ndim != len(entry.shape):
        return False
    wanted = [rows if axis == BATCH_AXIS else axis for axis in entry.shape]
    return all(isinstance(axis, str) or axis == length for axis, length in zip(wanted, output.shape, strict=True))


def _described(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"a tensor {tuple(output.shape)} of {str(output.dtype).removeprefix('torch.')}"
    return f"a {type(output).__name__}"
