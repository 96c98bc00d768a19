"""TorchScript: PyTorch's older format, still the only one that C++ programs load without a compiler.

torch says at every call that TorchScript is deprecated in favour of torch.export. That warning is silenced where a file is
written, here, and where it is loaded, in `hubserve.package.torch_runners`: the manifest records the range of versions that
read the file.
"""

from pathlib import Path
from typing import Literal

import torch

from hubserve.errors import ExportError, first_line
from hubserve.export.exportable_model import ExportableModel
from hubserve.package.formats import unsupported_format
from hubserve.package.torch_runners import without_deprecation

Method = Literal["scripted", "traced"]

READS_WITH = f"torch {torch.__version__} or later, Python 3.11 to 3.13"
"""What reads a file that is written here. torch names no release that drops TorchScript; Python 3.14 it does not support."""


def export_torchscript(source: ExportableModel, path: Path) -> Method:
    """Writes TorchScript; scripted where that works, else traced along the example.

    Raises:
        ExportError: neither works, or this Python is one that TorchScript does not support.
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
            return torch.jit.trace(source.model, source.example, check_trace=False), "traced"  # type: ignore[no-untyped-call]
        except Exception as tracing:
            raise ExportError(
                f"{source.name} becomes no TorchScript. Scripting: {first_line(scripting)}. Tracing: {first_line(tracing)}"
            ) from tracing
