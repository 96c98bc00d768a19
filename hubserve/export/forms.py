"""The exported forms: the file of each, how it is written, how it is loaded, and how near it must be to eager PyTorch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from hubserve.export.exportable import Exportable
from hubserve.export.manifest import Format
from hubserve.export.onnx import OPSET, Device, OnnxRunner, export_onnx
from hubserve.export.onnx_variants import halve_onnx, quantize_onnx
from hubserve.export.parity import FLOAT16, FLOAT32, INT8, Bounds
from hubserve.export.runner import Runner
from hubserve.export.torch_export import Pt2Runner, export_pt2
from hubserve.export.torchscript import READS_WITH, TorchScriptRunner, export_torchscript


@dataclass(frozen=True)
class Form:
    """One way to write a model.

    Attributes:
        file: its name in a package.
        write: writes it and returns what the manifest says of it.
        load: (path, threads, device) -> runner.
        bounds: how near to eager PyTorch it must be.
        only_cuda: why it is of no use without a GPU; None where it is.
        program: what loading or running it may do beyond computing; None where nothing.
    """

    file: str
    write: Callable[[Exportable, Path], dict[str, Any]]
    load: Callable[[Path, int, Device], Runner]
    bounds: Bounds = FLOAT32
    only_cuda: str | None = None
    program: str | None = None


def _onnx(source: Exportable, path: Path) -> dict[str, Any]:
    export_onnx(source, path)
    return {"opset": OPSET, "precision": "float32", "simplified_by": f"onnxscript {metadata.version('onnxscript')}"}


def _fp16(source: Exportable, path: Path) -> dict[str, Any]:
    with _float32(source, path) as start:
        halve_onnx(start, path)
    return {"opset": OPSET, "precision": "float16", "runs_on": "cuda"}


def _int8(source: Exportable, path: Path) -> dict[str, Any]:
    with _float32(source, path) as start:
        quantize_onnx(start, path, source.calibration)
    pictures = sum(len(batch) for batch in source.calibration)
    return {"opset": OPSET, "precision": "int8", "method": "static, QDQ, per channel", "calibration_pictures": pictures}


@contextmanager
def _float32(source: Exportable, path: Path) -> Iterator[Path]:
    """The float32 file to start from: the one beside `path` where that form was written just before, else one for now."""
    beside = path.with_name(FORMS["onnx"].file)
    if beside.is_file():
        yield beside
        return
    with tempfile.TemporaryDirectory(prefix="hubserve.") as folder:
        export_onnx(source, Path(folder) / beside.name)
        yield Path(folder) / beside.name


def _torchscript(source: Exportable, path: Path) -> dict[str, Any]:
    method = export_torchscript(source, path)
    return {"method": method, "precision": "float32", "reads_with": READS_WITH}


def _pt2(source: Exportable, path: Path) -> dict[str, Any]:
    export_pt2(source, path)
    return {"precision": "float32", "reads_with": f"torch {torch.__version__}"}


def _load_onnx(name: Format) -> Callable[[Path, int, Device], Runner]:
    return lambda path, threads, device: OnnxRunner(path, threads=threads, device=device, name=name)


FORMS: dict[Format, Form] = {
    "onnx": Form("model.onnx", _onnx, _load_onnx("onnx")),
    "torchscript": Form(
        "model.torchscript.pt",
        _torchscript,
        lambda path, _, device: TorchScriptRunner(path, device=device),
        program="a TorchScript file holds functions, which may read and write files",
    ),
    "pt2": Form(
        "model.pt2",
        _pt2,
        lambda path, _, device: Pt2Runner(path, device=device),
        program="torch.export.load unpickles parts of a .pt2 archive, which may run any code",
    ),
    "onnx-fp16": Form(
        "model.fp16.onnx",
        _fp16,
        _load_onnx("onnx-fp16"),
        FLOAT16,
        only_cuda="the CPU kernels of ONNX Runtime compute it in float32, with casts around them: it is onnx, slower",
    ),
    "onnx-int8": Form("model.int8.onnx", _int8, _load_onnx("onnx-int8"), INT8),
}
"""torch's forms use torch's own thread setting, which is the process's."""
