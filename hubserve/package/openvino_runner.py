"""Runs ONNX files on CPUs with OpenVINO, an optional dependency: pip install 'hubserve[openvino]'."""

import threading
from pathlib import Path
from typing import Any

import numpy as np

from hubserve.error_messages import first_line
from hubserve.errors import ExportError, LateAnswerError
from hubserve.package.onnx_runner import FEATURES
from hubserve.package.runner import DAY, Batch


class OpenVinoRunner:
    """A runner that compiles an ONNX file with OpenVINO for this CPU, in float32; calls from several threads are safe.

    OpenVINO cannot end a call that is inside a loop of the model. Such a call occupies a core until the process ends, so
    `Package.runner` refuses files that have loops, unless their author is trusted.

    Args:
        path: Path of the ONNX file.
        threads: Number of threads that one call may use.
        callers: Number of calls that may run at the same time; further calls wait.

    Attributes:
        callers: Number of calls that may run at the same time, as OpenVINO reports it.
        has_features: Whether "features", which `with_features` needs, is the file's second and last output.
        seconds: Time in seconds after which a call raises LateAnswerError; a day unless it is set to another value. After
            `callers` such calls, every further call is refused.

    Raises:
        ExportError: OpenVINO is not installed, or cannot load the file.
    """

    name = "openvino"
    device = "cpu"

    def __init__(self, path: Path, *, threads: int = 1, callers: int = 1) -> None:
        try:
            import openvino  # Optional, and slow to import for those who do not use it.
        except ImportError as error:
            raise ExportError(f"OpenVINO is not installed ({error}): pip install 'hubserve[openvino]'") from error
        core = openvino.Core()
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",  # By default it computes in bfloat16 where the CPU can.
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": callers,  # A stream runs one call at a time.
            "INFERENCE_NUM_THREADS": callers * threads,  # Of all streams together.
        }
        try:
            self._compiled = core.compile_model(str(path), "CPU", settings)
        except Exception as error:  # OpenVINO raises RuntimeError and others, without a common base.
            raise ExportError(f"OpenVINO {openvino.__version__} cannot load {path}: {first_line(error)}") from error
        self.has_features = [output.any_name for output in self._compiled.outputs[1:]] == [FEATURES]
        self._local = threading.local()
        # As OpenVINO reports it; asked later, it would wait for calls that do not end.
        self.callers = int(self._compiled.get_property("NUM_STREAMS"))
        self.seconds = DAY
        self._given_up: list[Any] = []

    def __call__(self, batch: Batch) -> Batch:
        """Returns the logits (n, classes) of a batch of prepared images (n, 3, height, width), both float32.

        Raises:
            ExportError: OpenVINO cannot run the model on this batch, for instance because of its shape.
            LateAnswerError: The call did not end within `seconds`; or `callers` earlier ones did not, so that it is refused.
        """
        return self._run(batch)[0]

    def with_features(self, batch: Batch) -> tuple[Batch, Batch]:
        """Returns the logits (n, classes) and features (n, width) of a batch of prepared images (n, 3, height, width), float32.

        Raises:
            ExportError: `has_features` is False, or the network does not take such a batch.
            LateAnswerError: As for `__call__`.
        """
        if not self.has_features:
            raise ExportError(f"{self.name} has no output {FEATURES!r}; export the model again")
        logits, features = self._run(batch)
        return logits, features

    def _run(self, batch: Batch) -> list[Batch]:
        request = self._request()
        try:
            request.start_async([np.ascontiguousarray(batch)])
            ended = request.wait_for(int(self.seconds * 1000))
            outputs = self._compiled.outputs if ended else []
            # Copied: the next call of this thread overwrites them.
            found: list[Batch] = [np.array(request.get_tensor(output).data) for output in outputs]
        except Exception as error:
            raise ExportError(f"OpenVINO cannot run the network on {batch.shape}: {first_line(error)}") from error
        if not ended:
            request.cancel()  # Has an effect between two nodes, not in a loop.
            self._given_up.append(request)
            del self._local.request
            raise LateAnswerError(f"OpenVINO did not answer {batch.shape} within {self.seconds:g} s, and was given up")
        return found

    def _request(self) -> Any:
        """Returns the inference request of the calling thread, created at its first call: threads must not share a request.

        Raises:
            LateAnswerError: `callers` earlier calls did not end within `seconds`.
        """
        if self._given_up and len(self._given_up) >= self.callers:
            raise LateAnswerError(
                f"{len(self._given_up)} calls of OpenVINO did not end, as many as run at once; delete this model and restart"
            )
        if not hasattr(self._local, "request"):
            self._local.request = self._compiled.create_infer_request()
        return self._local.request
