"""The formats that a package may hold: the file of each, how it is loaded, and the bounds of its parity."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hubserve.package.manifest import DEFAULT_FORMATS, Format
from hubserve.package.onnx_runner import Device, OnnxRunner
from hubserve.package.parity import FLOAT16, FLOAT32, INT8, Bounds
from hubserve.package.runner import Batch, Runner


@dataclass(frozen=True)
class FormatEntry:
    """One exported format.

    Attributes:
        file: Name of its file in a package.
        load: Function that loads the file: (path, threads, device) -> runner. It raises ExportError if it cannot.
        bounds: How far its logits may be from those of eager PyTorch.
        set_threads: Function that sets the number of threads that one call may use, for all of this process. None means that
            `load` sets it for each runner; the formats that torch runs cannot do that.
        only_cuda: Reason why the format is of no use without a GPU, for error messages; None if it runs on CPUs, too.
        program: Description of the code that loading or running the file may execute, for error messages; None for formats that
            only compute.
    """

    file: str
    load: Callable[[Path, int, Device], Runner]
    bounds: Bounds = FLOAT32
    set_threads: Callable[[int], None] | None = None
    only_cuda: str | None = None
    program: str | None = None


def _load_onnx(name: Format) -> Callable[[Path, int, Device], Runner]:
    return lambda path, threads, device: OnnxRunner(path, threads=threads, device=device, name=name)


def page_locked(shape: tuple[int, ...]) -> Batch:
    """Returns an uninitialised float32 array of `shape` in page-locked memory, from which copies to a GPU are faster.

    Imports torch, which allocates the memory.

    Raises:
        RuntimeError: torch has no GPU, or cannot allocate the memory.
    """
    from hubserve.package.torch_runners import page_locked_array  # Imports torch, which serving ONNX on CPUs does not need.

    return page_locked_array(shape)


def _set_torch_threads(threads: int) -> None:
    from hubserve.package.torch_runners import set_threads  # Imports torch, which serving ONNX does not need.

    set_threads(threads)


def _load_torchscript(path: Path, threads: int, device: Device) -> Runner:
    from hubserve.package.torch_runners import TorchScriptRunner  # Imports torch, which serving ONNX does not need.

    return TorchScriptRunner(path, device=device)


def _load_pt2(path: Path, threads: int, device: Device) -> Runner:
    from hubserve.package.torch_runners import Pt2Runner  # Imports torch, which serving ONNX does not need.

    return Pt2Runner(path, device=device)


FORMATS: dict[Format, FormatEntry] = {
    "onnx": FormatEntry("model.onnx", _load_onnx("onnx")),
    "torchscript": FormatEntry(
        "model.torchscript.pt",
        _load_torchscript,
        set_threads=_set_torch_threads,
        program="a TorchScript file holds functions, which may read and write files",
    ),
    "pt2": FormatEntry(
        "model.pt2",
        _load_pt2,
        set_threads=_set_torch_threads,
        program="torch.export.load unpickles parts of a .pt2 archive, which may run any code",
    ),
    "onnx-fp16": FormatEntry(
        "model.fp16.onnx",
        _load_onnx("onnx-fp16"),
        FLOAT16,
        only_cuda="the CPU kernels of ONNX Runtime compute it in float32, with casts around them: it is onnx, slower",
    ),
    "onnx-int8": FormatEntry("model.int8.onnx", _load_onnx("onnx-int8"), INT8),
}

PYTHON = sys.version_info[:2]
"""Major and minor version of the running Python; tests replace it."""


def unsupported_format(name: str) -> str | None:
    """Returns the reason why this version of Python can neither write nor run the format `name`; None if it can."""
    if name == "torchscript" and PYTHON >= (3, 14):
        return f"PyTorch does not support TorchScript on Python {PYTHON[0]}.{PYTHON[1]}"
    return None


def default_formats() -> tuple[Format, ...]:
    """Returns the formats that an export writes if none are given: those of `DEFAULT_FORMATS` that this Python supports."""
    return tuple(name for name in DEFAULT_FORMATS if unsupported_format(name) is None)
