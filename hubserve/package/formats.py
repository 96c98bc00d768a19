"""The formats that a package may hold: the file of each, how it is loaded, and the bounds of its parity."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hubserve.package.manifest import DEFAULT_FORMATS, Format
from hubserve.package.mobile_runners import NCNN_WEIGHTS, LiteRtRunner, NcnnRunner
from hubserve.package.onnx_runner import Device, OnnxRunner
from hubserve.package.onnx_tensor_runner import OnnxTensorRunner
from hubserve.package.parity import FLOAT16, FLOAT32, INT8, Bounds
from hubserve.package.runner import Batch, Runner, TensorRunner


class _EitherRunner(Runner, TensorRunner, Protocol):
    """The interface of the runners of torch, which run both image classifiers and models of any inputs."""


@dataclass(frozen=True)
class FormatEntry:
    """How one exported format is stored in a package, loaded, and compared with eager PyTorch.

    Attributes:
        file: Name of its file in a package.
        load: Function that loads the file: (path, threads, device) -> runner. It raises ExportError if it cannot. Those of the
            formats for phones ignore the device, and those of torch the threads.
        load_tensors: Function that loads the file of a model of any inputs, as `load` does that of an image classifier; None if
            the format is for image classifiers only.
        bounds: How far its logits may be from those of eager PyTorch.
        set_threads: Function that sets the number of threads that one call may use, for all of this process. None means that
            `load` sets it for each runner; the formats that torch runs cannot do that.
        only_cuda: Reason why the format is of no use without a GPU, for error messages; None if it runs on CPUs, too.
        program: Why only files of trusted authors are loaded, for error messages: the code that loading or running the file may
            execute, or that its runtime does not check it. None for the formats in ONNX.
        companions: Names of further files of the format, without which `file` is of no use.
        runtime: Distribution of the library that runs the format.
    """

    file: str
    load: Callable[[Path, int, Device], Runner]
    load_tensors: Callable[[Path, int, Device], TensorRunner] | None = field(default=None, kw_only=True)
    bounds: Bounds = FLOAT32
    set_threads: Callable[[int], None] | None = None
    only_cuda: str | None = None
    program: str | None = None
    companions: tuple[str, ...] = ()
    runtime: str = "torch"

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files of the format in a package."""
        return self.file, *self.companions


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


def _load_onnx_tensors(path: Path, threads: int, device: Device) -> TensorRunner:
    return OnnxTensorRunner(path, threads=threads, device=device)


def _load_torchscript(path: Path, threads: int, device: Device) -> _EitherRunner:
    from hubserve.package.torch_runners import TorchScriptRunner  # Imports torch, which serving ONNX does not need.

    return TorchScriptRunner(path, device=device)


def _load_pt2(path: Path, threads: int, device: Device) -> _EitherRunner:
    from hubserve.package.torch_runners import Pt2Runner  # Imports torch, which serving ONNX does not need.

    return Pt2Runner(path, device=device)


def _load_executorch(name: Format) -> Callable[[Path, int, Device], Runner]:
    def load(path: Path, threads: int, device: Device) -> Runner:
        from hubserve.package.executorch_runner import ExecuTorchRunner  # Imports torch, which serving ONNX does not need.

        return ExecuTorchRunner(path, threads=threads, name=name)

    return load


def _load_litert(name: Format) -> Callable[[Path, int, Device], Runner]:
    return lambda path, threads, device: LiteRtRunner(path, threads=threads, name=name)


def _load_ncnn(path: Path, threads: int, device: Device) -> Runner:
    return NcnnRunner(path, threads=threads)


_UNCHECKED = "{} does not check files that were made to do harm, and runs them inside this process"

FORMATS: dict[Format, FormatEntry] = {
    "onnx": FormatEntry("model.onnx", _load_onnx("onnx"), load_tensors=_load_onnx_tensors, runtime="onnxruntime"),
    "torchscript": FormatEntry(
        "model.torchscript.pt",
        _load_torchscript,
        load_tensors=_load_torchscript,
        set_threads=_set_torch_threads,
        program="a TorchScript file holds functions, which may read and write files",
    ),
    "pt2": FormatEntry(
        "model.pt2",
        _load_pt2,
        load_tensors=_load_pt2,
        set_threads=_set_torch_threads,
        program="torch.export.load unpickles parts of a .pt2 archive, which may run any code",
    ),
    "onnx-fp16": FormatEntry(
        "model.fp16.onnx",
        _load_onnx("onnx-fp16"),
        FLOAT16,
        runtime="onnxruntime",
        only_cuda="the CPU kernels of ONNX Runtime compute it in float32, with casts around them: it is onnx, slower",
    ),
    "onnx-int8": FormatEntry("model.int8.onnx", _load_onnx("onnx-int8"), INT8, runtime="onnxruntime"),
    "executorch": FormatEntry(
        "model.pte", _load_executorch("executorch"), runtime="executorch", program=_UNCHECKED.format("ExecuTorch")
    ),
    "executorch-int8": FormatEntry(
        "model.int8.pte",
        _load_executorch("executorch-int8"),
        INT8,
        runtime="executorch",
        program=_UNCHECKED.format("ExecuTorch"),
    ),
    "litert": FormatEntry(
        "model.tflite", _load_litert("litert"), runtime="ai-edge-litert", program=_UNCHECKED.format("LiteRT")
    ),
    "litert-int8": FormatEntry(
        "model.int8.tflite", _load_litert("litert-int8"), INT8, runtime="ai-edge-litert", program=_UNCHECKED.format("LiteRT")
    ),
    "ncnn": FormatEntry(
        "model.ncnn.param", _load_ncnn, runtime="ncnn", program=_UNCHECKED.format("ncnn"), companions=(NCNN_WEIGHTS,)
    ),
}

TENSOR_FORMATS: tuple[Format, ...] = tuple(name for name, entry in FORMATS.items() if entry.load_tensors is not None)
"""The formats in which models of any inputs are exported; the others are for image classifiers only."""

PYTHON = sys.version_info[:2]
"""Major and minor version of the running Python; tests replace it."""


def unsupported_format(name: str) -> str | None:
    """Returns the reason why this version of Python can neither write nor run the format `name`; None if it can."""
    if name == "torchscript" and PYTHON >= (3, 14):
        return f"PyTorch does not support TorchScript on Python {PYTHON[0]}.{PYTHON[1]}"
    if name == "ncnn" and PYTHON >= (3, 14):
        return f"ncnn files are made from TorchScript, which PyTorch does not support on Python {PYTHON[0]}.{PYTHON[1]}"
    return None


def default_formats() -> tuple[Format, ...]:
    """Returns the formats that an export writes if none are given: those of `DEFAULT_FORMATS` that this Python supports."""
    return tuple(name for name in DEFAULT_FORMATS if unsupported_format(name) is None)
