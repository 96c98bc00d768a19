"""Converts float32 ONNX files to lower precision: to float16 for GPUs, or to 8-bit integers, calibrated on images."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import onnx
import onnxruntime
from onnx import ModelProto
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import CalibraterBase
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from hubserve.error_messages import first_line
from hubserve.errors import ExportError
from hubserve.host import cores
from hubserve.package.onnx_runner import INPUT, session_options
from hubserve.package.runner import Batch


def halve_onnx(float32: Path, path: Path) -> None:
    """Converts a float32 ONNX file to float16. Its input and output stay float32, so that callers need no change.

    Args:
        float32: ONNX file to convert.
        path: File to write.

    Raises:
        ExportError: The file cannot be converted; nothing is left at `path` then.
    """
    with _explained(path, "float16"):
        halved = OnnxModel(convert_float_to_float16(onnx.load(str(float32)), keep_io_types=True))
        halved.topological_sort()  # The converter appends its casts at the end of the graph.
        onnx.save(halved.model, str(path))
        onnx.checker.check_model(str(path))


def quantize_onnx(float32: Path, path: Path, calibration: Sequence[Batch]) -> None:
    """Quantizes a float32 ONNX file to 8-bit integers.

    Quantization is static, with a scale for each channel of the weights. Quantize and dequantize nodes (QDQ) stand in the
    graph, a representation that ONNX Runtime and other runtimes read.

    Args:
        float32: ONNX file to convert.
        path: File to write.
        calibration: Batches of preprocessed images, each (n, 3, height, width) float32, at least one. The model is run on them
            to measure the range of each tensor.

    Raises:
        ExportError: `calibration` is empty, or the file cannot be converted; nothing is left at `path` then.
    """
    if not calibration:
        raise ExportError(
            "onnx-int8 needs images to calibrate the range of every tensor, and there are none: give a folder of some 100 "
            "images of the kind that the model will see (--images FOLDER)"
        )
    # By default the calibration starts a thread for each core of the machine, even if this process may use fewer cores.
    with _explained(path, "8-bit integers"), patch.object(CalibraterBase, "create_inference_session", _make_session):
        quantize_static(
            str(float32),
            str(path),
            _CalibrationBatches(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_not_quantizable(onnx.load(str(float32))),
        )
        onnx.checker.check_model(str(path))


def _make_session(calibrater: Any) -> None:
    options = session_options(cores())
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    path, providers = calibrater.augmented_model_path, calibrater.execution_providers
    calibrater.infer_session = onnxruntime.InferenceSession(path, options, providers=providers)


class _CalibrationBatches(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Batch] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


def _not_quantizable(model: ModelProto) -> list[str]:
    """Returns the names of the MatMul nodes whose constant operand is not a matrix.

    For these, ONNX Runtime has no 8-bit kernel with a scale for each channel.
    """
    ranks = {constant.name: len(constant.dims) for constant in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and ranks.get(node.input[1], 2) != 2]


@contextlib.contextmanager
def _explained(path: Path, what: str) -> Iterator[None]:
    """Turns any exception of a converter in the block into an ExportError, removes an incomplete file, and silences its log.

    Args:
        path: File that the converter writes.
        what: Name of the target precision, for the message.
    """
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    except Exception as error:
        path.unlink(missing_ok=True)
        raise ExportError(
            f"the ONNX file cannot be converted to {what}: {type(error).__name__}: {first_line(error)}; leave that format out"
        ) from error
    finally:
        root.setLevel(level)
