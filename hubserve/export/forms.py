"""The exported forms: the file of each, how it is written, and how it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hubserve.export.exportable import Exportable
from hubserve.export.manifest import Format
from hubserve.export.onnx import OPSET, Device, OnnxRunner, export_onnx
from hubserve.export.runner import Runner
from hubserve.export.torch_export import Pt2Runner, export_pt2
from hubserve.export.torchscript import TorchScriptRunner, export_torchscript


@dataclass(frozen=True)
class Form:
    """One way to write a model.

    Attributes:
        file: its name in a package.
        write: writes it and returns what the manifest says of it.
        load: (path, threads, device) -> runner.
    """

    file: str
    write: Callable[[Exportable, Path], dict[str, Any]]
    load: Callable[[Path, int, Device], Runner]


def _onnx(source: Exportable, path: Path) -> dict[str, Any]:
    export_onnx(source, path)
    return {"opset": OPSET, "precision": "float32"}


def _torchscript(source: Exportable, path: Path) -> dict[str, Any]:
    method = export_torchscript(source, path)
    return {"method": method, "precision": "float32", "reads_with": f"torch {torch.__version__} or later, Python below 3.14"}


def _pt2(source: Exportable, path: Path) -> dict[str, Any]:
    export_pt2(source, path)
    return {"precision": "float32", "reads_with": f"torch {torch.__version__}"}


FORMS: dict[Format, Form] = {
    "onnx": Form("model.onnx", _onnx, lambda path, threads, device: OnnxRunner(path, threads=threads, device=device)),
    "torchscript": Form("model.torchscript.pt", _torchscript, lambda path, _, device: TorchScriptRunner(path, device=device)),
    "pt2": Form("model.pt2", _pt2, lambda path, _, device: Pt2Runner(path, device=device)),
}
"""torch's forms use torch's own thread setting, which is the process's."""
