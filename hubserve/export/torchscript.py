"""Writes TorchScript, PyTorch's older export format, which C++ programs can load without a compiler.

torch warns at every call that TorchScript is deprecated in favour of torch.export. The warning is silenced here, where a file
is written, and in `hubserve.package.torch_runners`, where it is loaded; instead, the manifest records the versions of torch
and Python that read the file.
"""

from pathlib import Path
from typing import Literal

import torch

from hubserve.error_messages import first_line
from hubserve.errors import ExportError
from hubserve.export.exportable_model import ExportableModel
from hubserve.package.formats import unsupported_format
from hubserve.package.torch_runners import without_deprecation

Method = Literal["scripted", "traced"]

READS_WITH = f"torch {torch.__version__} or later, Python 3.11 to 3.13"
"""Versions that read a TorchScript file written here. torch has named no release without TorchScript, but does not support it
on Python 3.14."""


def export_torchscript(source: ExportableModel, path: Path) -> Method:
    """Writes a model as TorchScript: scripted if the compiler supports the model, and else traced on the example input.

    Args:
        source: Model to export.
        path: File to write.

    Returns:
        The method that was used, "scripted" or "traced".

    Raises:
        ExportError: The model can be neither scripted nor traced, or TorchScript does not support this version of Python.
    """
    reason = unsupported_format("torchscript")
    if reason is not None:
        raise ExportError(f"{reason}; leave it out with formats=('onnx', 'pt2') / --format onnx --format pt2")
    with without_deprecation(), torch.no_grad():
        frozen, method = _freeze(source)
        torch.jit.save(frozen, str(path))
    return method


def _freeze(source: ExportableModel) -> tuple[torch.jit.ScriptModule, Method]:
    try:
        return torch.jit.script(source.model), "scripted"
    except Exception as scripting:  # The compiler of TorchScript raises exceptions without a common base.
        try:
            return torch.jit.trace(source.model, source.inputs, check_trace=False), "traced"  # type: ignore[no-untyped-call]
        except Exception as tracing:
            raise ExportError(
                f"{source.name} becomes no TorchScript. Scripting: {first_line(scripting)}. Tracing: {first_line(tracing)}"
            ) from tracing
