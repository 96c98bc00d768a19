"""Runs ONNX files with ONNX Runtime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hubserve.cuda_driver import gpus
from hubserve.error_messages import first_line
from hubserve.errors import ExportError, LateAnswerError
from hubserve.package.run_limit import RunLimit
from hubserve.package.runner import DAY, Batch

INPUT, OUTPUT, FEATURES = "images", "logits", "features"
"""Names of the tensors of an ONNX file; FEATURES is the input of the layer that computes the logits."""

EXACT_SUMS = {"session.x64quantprecision": "1"}
"""Entry of a session's configuration without which sums of products of 8-bit integers saturate on x86 CPUs without VNNI.

It changes nothing on other CPUs, or for other files; docs/decisions/0053-eight-bits-on-every-cpu.md has the measurements."""

Device = Literal["auto", "cpu", "cuda"]


class OnnxRunner:
    """A runner that loads an ONNX file into a session of ONNX Runtime; calls from several threads run at the same time.

    Args:
        path: Path of the ONNX file.
        threads: Number of threads that one call may use. At batch size 1 a second thread gains little; for more images a
            second, two sessions with one thread each gain more.
        device: "cpu", "cuda" or "auto". "auto" takes a GPU if ONNX Runtime can use one, and else the CPU.
        name: Name of the format, for error messages.

    Attributes:
        device: "cpu" or "cuda": the device that is used.
        seconds: Time in seconds after which a call is ended; a day unless it is set to another value.
        has_features: Whether the file has the output "features", which `with_features` needs.

    Raises:
        ExportError: The file cannot be loaded, it does not have exactly one float32 input and one float32 output, besides
            "features", or `device` is "cuda" and ONNX Runtime cannot use a GPU.
    """

    def __init__(self, path: Path, *, threads: int = 1, device: Device = "auto", name: str = "onnx") -> None:
        self.name = name
        self._session, self.device = open_session(path, threads=threads, device=device)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self.has_features = [output.name for output in outputs[1:]] == [FEATURES]
        types = {tensor.type for tensor in (*inputs, *outputs)}
        if types != {"tensor(float)"} or len(inputs) != 1 or len(outputs) != 1 + self.has_features:
            found = ", ".join(f"{tensor.name} {tensor.type}" for tensor in (*inputs, *outputs))
            raise ExportError(f"{path} has {found}; expected one input and one output, or {FEATURES!r} too, all tensor(float)")
        self._input, self._logits = inputs[0].name, outputs[0].name
        self.seconds = DAY

    def __call__(self, batch: Batch) -> Batch:
        """Returns the logits (n, classes) of a batch of prepared images (n, 3, height, width), both float32.

        Raises:
            ExportError: ONNX Runtime cannot run the model on this batch, for instance because of its shape.
            LateAnswerError: The call did not end within `seconds`.
        """
        return self._run(batch, [self._logits])[0]

    def with_features(self, batch: Batch) -> tuple[Batch, Batch]:
        """Returns the logits (n, classes) and features (n, width) of a batch of prepared images (n, 3, height, width), float32.

        Raises:
            ExportError: The file has no output "features", or the network does not take such a batch.
            LateAnswerError: The call did not end within `seconds`.
        """
        if not self.has_features:
            raise ExportError(f"{self.name} has no output {FEATURES!r}; export the model again")
        logits, features = self._run(batch, [self._logits, FEATURES])
        return logits, features

    def _run(self, batch: Batch, outputs: list[str]) -> list[Batch]:
        return run_session(self._session, outputs, {self._input: batch}, name=self.name, seconds=self.seconds)


def open_session(path: Path, *, threads: int, device: Device) -> tuple[onnxruntime.InferenceSession, str]:
    """Loads an ONNX file, and returns the session and the device that it uses, "cpu" or "cuda".

    Args:
        path: Path of the ONNX file.
        threads: Number of threads that one call may use.
        device: "cpu", "cuda" or "auto". "auto" takes a GPU if ONNX Runtime can use one, and else the CPU.

    Raises:
        ExportError: The file cannot be loaded, or `device` is "cuda" and ONNX Runtime cannot use a GPU.
    """
    used = _resolve(device)
    try:
        session = onnxruntime.InferenceSession(str(path), session_options(threads), providers=_providers(used))
    except Exception as error:  # ONNX Runtime has its own exceptions, without a common base.
        raise ExportError(f"ONNX Runtime cannot load {path}: {error}") from error
    if used == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        if device == "cuda":
            raise ExportError(
                f"ONNX Runtime {onnxruntime.__version__} fell back to the CPU: the CUDA libraries it needs do not "
                "load here; pip install 'hubserve[cuda]' brings them"
            )
        used = "cpu"
    return session, used


def run_session(
    session: onnxruntime.InferenceSession,
    outputs: Sequence[str],
    inputs: Mapping[str, NDArray[Any]],
    *,
    name: str,
    seconds: float,
) -> list[NDArray[Any]]:
    """Runs a session and returns the outputs, in the order of `outputs`.

    Args:
        session: The session.
        outputs: Names of the outputs to compute.
        inputs: Inputs by their names.
        name: Name of the format, for error messages.
        seconds: Time in seconds after which the call is ended.

    Raises:
        ExportError: ONNX Runtime cannot run the model on these inputs, for instance because of their shapes.
        LateAnswerError: The call did not end within `seconds`.
    """
    options = onnxruntime.RunOptions()
    given = {key: np.ascontiguousarray(value) for key, value in inputs.items()}
    try:
        with RunLimit(options, seconds):
            found: list[NDArray[Any]] = session.run(outputs, given, options)
    except Exception as error:
        shapes = ", ".join(str(value.shape) for value in given.values())
        if options.terminate:
            raise LateAnswerError(f"{name} did not answer {shapes} within {seconds:g} s, and was ended") from error
        raise ExportError(f"ONNX Runtime cannot run {name} on {shapes}: {first_line(error)}") from error
    return found


def cuda_available() -> bool:
    """Returns whether the installed ONNX Runtime supports CUDA and the CUDA driver reports a GPU.

    Both are checked because ONNX Runtime lists its CUDA provider even on machines without a GPU.
    """
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers() and bool(gpus())


def _resolve(device: Device) -> str:
    if device == "cuda" and not cuda_available():
        raise ExportError(
            f"device 'cuda' was asked for; the CUDA driver sees {len(gpus())} GPUs, and ONNX Runtime has "
            f"{', '.join(onnxruntime.get_available_providers())}"
        )
    return "cuda" if device != "cpu" and cuda_available() else "cpu"


def _providers(device: str) -> list[str]:
    if device == "cuda":
        onnxruntime.preload_dlls()
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Returns the options with which every session of ONNX Runtime is created, for serving and for latency measurements.

    Args:
        threads: Number of threads that one call of the session may use.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Waiting threads that spin take the cores of other sessions.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for key, value in EXACT_SUMS.items():
        options.add_session_config_entry(key, value)
    options.log_severity_level = 3
    return options
