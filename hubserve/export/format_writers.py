"""The functions that write each export format (`WRITERS`). `hubserve.package.formats` loads and compares the formats."""

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from hubserve.error_messages import first_line
from hubserve.errors import ExportError
from hubserve.export.executorch import export_executorch, export_executorch_int8
from hubserve.export.exportable_model import ExportableModel
from hubserve.export.litert import export_litert, export_litert_int8
from hubserve.export.ncnn import export_ncnn
from hubserve.export.onnx import OPSET, export_onnx
from hubserve.export.onnx_precision import halve_onnx, quantize_onnx
from hubserve.export.torchscript import READS_WITH, export_torchscript
from hubserve.package.formats import FORMATS
from hubserve.package.manifest import Format
from hubserve.package.onnx_runner import EXACT_SUMS


def _onnx(source: ExportableModel, path: Path) -> dict[str, Any]:
    export_onnx(source, path)
    return {"opset": OPSET, "precision": "float32", "simplified_by": f"onnxscript {metadata.version('onnxscript')}"}


def _fp16(source: ExportableModel, path: Path) -> dict[str, Any]:
    with _float32(source, path) as start:
        halve_onnx(start, path)
    return {"opset": OPSET, "precision": "float16", "runs_on": "cuda"}


def _int8(source: ExportableModel, path: Path) -> dict[str, Any]:
    with _float32(source, path) as start:
        quantize_onnx(start, path, source.calibration)
    facts = {"opset": OPSET, "precision": "int8", "method": "static, QDQ, per channel", "session_config": dict(EXACT_SUMS)}
    return facts | _calibrated(source)


@contextmanager
def _float32(source: ExportableModel, path: Path) -> Iterator[Path]:
    """Yields the path of the float32 ONNX file to convert.

    It is the file of the format "onnx" beside `path`, if that was written before, or else a temporary file, written now.
    """
    beside = path.with_name(FORMATS["onnx"].file)
    if beside.is_file():
        yield beside
        return
    with tempfile.TemporaryDirectory(prefix="hubserve.") as folder:
        export_onnx(source, Path(folder) / beside.name)
        yield Path(folder) / beside.name


def _torchscript(source: ExportableModel, path: Path) -> dict[str, Any]:
    method = export_torchscript(source, path)
    return {"method": method, "precision": "float32", "reads_with": READS_WITH}


def write_pt2(source: ExportableModel, path: Path) -> dict[str, Any]:
    """Writes a `.pt2` archive of torch.export, which only PyTorch reads, with a dynamic batch size and other named axes.

    Args:
        source: Model to export.
        path: File to write.

    Returns:
        The entry of the format in the manifest: its precision and the version of torch that reads it.

    Raises:
        ExportError: torch.export cannot capture or save the model.
    """
    program = source.program
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # They are about torch's own internals.
            torch.export.save(program, path)
    except Exception as error:  # The exceptions of torch.export have no common base.
        path.unlink(missing_ok=True)
        raise ExportError(f"{source.name} becomes no .pt2 archive: {first_line(error)}") from error
    return {"precision": "float32", "reads_with": f"torch {torch.__version__}"}


def _executorch(source: ExportableModel, path: Path) -> dict[str, Any]:
    export_executorch(source, path)
    return {"precision": "float32", "backend": "XNNPACK", "batch": 1, **_written_with("executorch")}


def _executorch_int8(source: ExportableModel, path: Path) -> dict[str, Any]:
    export_executorch_int8(source, path)
    return _INT8 | {"backend": "XNNPACK"} | _calibrated(source) | _written_with("executorch")


def _litert(source: ExportableModel, path: Path) -> dict[str, Any]:
    export_litert(source, path)
    return {"precision": "float32", "batch": 1, **_written_with("litert-torch")}


def _litert_int8(source: ExportableModel, path: Path) -> dict[str, Any]:
    export_litert_int8(source, path)
    return _INT8 | _calibrated(source) | _written_with("ai-edge-quantizer")


def _ncnn(source: ExportableModel, path: Path) -> dict[str, Any]:
    export_ncnn(source, path)
    return {"precision": "float32", "batch": 1, **_written_with("pnnx")}


_INT8 = {"precision": "int8", "method": "static, per channel", "batch": 1}


def _calibrated(source: ExportableModel) -> dict[str, int]:
    return {"calibration_images": sum(map(len, source.calibration))}


def _written_with(library: str) -> dict[str, str]:
    return {"written_with": f"{library} {metadata.version(library)}"}


WRITERS: dict[Format, Callable[[ExportableModel, Path], dict[str, Any]]] = {
    "onnx": _onnx,
    "torchscript": _torchscript,
    "pt2": write_pt2,
    "onnx-fp16": _fp16,
    "onnx-int8": _int8,
    "executorch": _executorch,
    "executorch-int8": _executorch_int8,
    "litert": _litert,
    "litert-int8": _litert_int8,
    "ncnn": _ncnn,
}
"""Format -> function that writes a model in this format to a path and returns the entry of the format in the manifest."""
