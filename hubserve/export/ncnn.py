"""Writes files of ncnn, a runtime for phones and boards without other dependencies, with its converter pnnx."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

from hubserve.error_messages import first_line
from hubserve.errors import ExportError
from hubserve.export.exportable_model import ExportableModel
from hubserve.export.missing_extra import needs_extra
from hubserve.export.quiet_exporters import quiet_exporters
from hubserve.package.formats import unsupported_format
from hubserve.package.mobile_runners import NCNN_WEIGHTS

SECONDS = 900
"""Time limit of pnnx in seconds. It converts mobile networks in a few seconds."""


def export_ncnn(source: ExportableModel, path: Path) -> None:
    """Writes a model as two files of ncnn in float32: its layers at `path`, and its weights as `NCNN_WEIGHTS` beside it.

    pnnx reads TorchScript, which is traced with one image.

    Args:
        source: Model to export.
        path: File to write.

    Raises:
        ExportError: pnnx is not installed, this version of Python does not support TorchScript, pnnx cannot convert the model
            or does not end within `SECONDS`, or ncnn has no layer for an operation of it.
    """
    if (reason := unsupported_format("ncnn")) is not None:
        raise ExportError(reason)
    with needs_extra("pnnx, the converter of ncnn,", "ncnn"):
        import pnnx
    with tempfile.TemporaryDirectory(prefix="hubserve.") as folder:
        layers, weights = _convert(source, Path(folder), pnnx.EXEC_PATH)
        if unknown := _without_layer(layers.read_text("utf-8")):
            raise ExportError(f"{source.name} cannot run in ncnn, which has no layer for {', '.join(unknown)}")
        shutil.copyfile(layers, path)
        shutil.copyfile(weights, path.with_name(NCNN_WEIGHTS))


def _without_layer(layers: str) -> list[str]:
    """Returns the operations in the text of a .param file that pnnx left in PyTorch's names, such as Tensor.slice."""
    kinds = {line.split()[0] for line in layers.splitlines()[2:] if line.strip()}
    return sorted(kind for kind in kinds if not kind.isidentifier())


def _convert(source: ExportableModel, folder: Path, converter: str) -> tuple[Path, Path]:
    """Runs pnnx, the program at `converter`, in `folder`, and returns the paths of the layers and of the weights there.

    Raises ExportError if the model cannot be traced or converted.
    """
    traced = folder / "model.pt"
    try:
        with quiet_exporters(), torch.no_grad():  # TorchScript is deprecated, and warns of Python values in the trace.
            torch.jit.trace(source.model, source.example[:1], check_trace=False).save(str(traced))  # type: ignore[no-untyped-call]
    except Exception as error:  # The errors of TorchScript have no common base.
        raise ExportError(f"{source.name} cannot be traced for ncnn: {first_line(error)}") from error
    shape = ",".join(map(str, source.example[:1].shape))
    # Without fp16=0, the weights are stored in 16 bits.
    command = [converter, str(traced), f"inputshape=[{shape}]f32", "fp16=0"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=SECONDS, env=dict(os.environ)
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExportError(f"pnnx cannot convert {source.name}: {first_line(error)}") from error
    layers, weights = folder / "model.ncnn.param", folder / "model.ncnn.bin"
    if done.returncode != 0 or not (layers.is_file() and weights.is_file()):
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise ExportError(f"pnnx cannot convert {source.name}: {said[-1] if said else f'exit code {done.returncode}'}")
    return layers, weights
