"""Runs ONNX files of any inputs and outputs with ONNX Runtime."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from hubserve.errors import ExportError
from hubserve.package.onnx_runner import Device, open_session, run_session
from hubserve.package.runner import DAY


class OnnxTensorRunner:
    """A runner that loads an ONNX file of any inputs; calls from several threads run at the same time.

    Args:
        path: Path of the ONNX file.
        threads: Number of threads that one call may use.
        device: "cpu", "cuda" or "auto". "auto" takes a GPU if ONNX Runtime can use one, and else the CPU.
        name: Name of the format, for error messages.

    Attributes:
        device: "cpu" or "cuda": the device that is used.
        seconds: Time in seconds after which a call is ended; a day unless it is set to another value.

    Raises:
        ExportError: The file cannot be loaded, or `device` is "cuda" and ONNX Runtime cannot use a GPU.
    """

    def __init__(self, path: Path, *, threads: int = 1, device: Device = "auto", name: str = "onnx") -> None:
        self.name, self.seconds = name, DAY
        self._session, self.device = open_session(path, threads=threads, device=device)
        self._inputs = [tensor.name for tensor in self._session.get_inputs()]
        self._outputs = [tensor.name for tensor in self._session.get_outputs()]

    def run(self, inputs: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        """Returns all outputs for a batch of inputs, both in the order in which the file lists them.

        Raises:
            ExportError: There are more or fewer inputs than the file has, or ONNX Runtime cannot run the model on them.
            LateAnswerError: The call did not end within `seconds`.
        """
        if len(inputs) != len(self._inputs):
            raise ExportError(f"{len(inputs)} inputs are given, and {self.name} has {', '.join(self._inputs)}")
        given = dict(zip(self._inputs, inputs, strict=True))
        return tuple(run_session(self._session, self._outputs, given, name=self.name, seconds=self.seconds))
