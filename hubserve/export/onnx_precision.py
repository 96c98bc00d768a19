"""ONNX in fewer bits: float16 for GPUs, and 8-bit integers with ranges learned from pictures."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
from onnx import ModelProto
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from hubserve.errors import ExportError, first_line
from hubserve.package.onnx_runner import INPUT
from hubserve.package.runner import Batch


def halve_onnx(float32: Path, path: Path) -> None:
    """Writes the float16 form of an ONNX file. Pictures and logits stay float32, so that it is used in the same way.

    Args:
        float32: the file to start from.
        path: of the new one.

    Raises:
        ExportError: it cannot be converted.
    """
    with _explained(path, "float16"):
        halved = OnnxModel(convert_float_to_float16(onnx.load(str(float32)), keep_io_types=True))
        halved.topological_sort()  # The converter puts its casts at the end.
        onnx.save(halved.model, str(path))
        onnx.checker.check_model(str(path))


def quantize_onnx(float32: Path, path: Path, calibration: Sequence[Batch]) -> None:
    """Writes the 8-bit form of an ONNX file: static, weights per channel, in the QDQ layout that every runtime reads.

    Args:
        float32: the file to start from.
        path: of the new one.
        calibration: batches of prepared pictures; the range of each tensor is what they reach.

    Raises:
        ExportError: no pictures, or it cannot be converted.
    """
    if not calibration:
        raise ExportError(
            "onnx-int8 learns the range of every tensor from pictures, and there are none: give a folder of some 100 "
            "pictures of the kind that the model will see (--images FOLDER)"
        )
    with _explained(path, "8-bit integers"):
        quantize_static(
            str(float32),
            str(path),
            _Pictures(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_not_quantizable(onnx.load(str(float32))),
        )
        onnx.checker.check_model(str(path))


class _Pictures(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Batch] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


def _not_quantizable(model: ModelProto) -> list[str]:
    """Products with a constant that is no matrix: ONNX Runtime has no 8-bit kernel for them with a scale per channel."""
    ranks = {constant.name: len(constant.dims) for constant in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and ranks.get(node.input[1], 2) != 2]


@contextlib.contextmanager
def _explained(path: Path, what: str) -> Iterator[None]:
    """The converters raise whatever they stumble on, and advise on the console."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    except Exception as error:
        path.unlink(missing_ok=True)
        raise ExportError(
            f"the ONNX file cannot be brought to {what}: {type(error).__name__}: {first_line(error)}; leave that form out"
        ) from error
    finally:
        root.setLevel(level)
