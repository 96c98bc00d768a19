"""OpenVINO: runs the ONNX file on CPUs, with kernels of its own. An extra: pip install 'hubserve[openvino]'."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from hubserve.errors import ExportError
from hubserve.export.exportable import first_line
from hubserve.export.runner import Batch


class OpenVinoRunner:
    """An ONNX file compiled by OpenVINO for this CPU, in float32; calls from several threads are safe and take turns.

    Args:
        path: of the ONNX file.
        threads: that one call may use.

    Raises:
        ExportError: OpenVINO is not installed, or cannot load the file.
    """

    name = "openvino"
    device = "cpu"

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        try:
            import openvino  # Optional, and slow to import for those who do not use it.
        except ImportError as error:
            raise ExportError(f"OpenVINO is not installed ({error}): pip install 'hubserve[openvino]'") from error
        core = openvino.Core()
        # It would compute in bfloat16 where the CPU can, unless told.
        settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        try:
            self._compiled = core.compile_model(str(path), "CPU", settings | {"INFERENCE_NUM_THREADS": threads})
        except Exception as error:  # OpenVINO raises RuntimeError and others, without a common base.
            raise ExportError(f"OpenVINO {openvino.__version__} cannot load {path}: {first_line(error)}") from error
        self._local = threading.local()

    def __call__(self, batch: Batch) -> Batch:
        found = self._request().infer([np.ascontiguousarray(batch)])
        logits: Batch = np.array(next(iter(found.values())))
        return logits

    def _request(self) -> Any:
        """A request of this thread's own: two threads may not share one."""
        if not hasattr(self._local, "request"):
            self._local.request = self._compiled.create_infer_request()
        return self._local.request
