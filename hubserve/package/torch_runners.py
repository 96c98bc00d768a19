"""Runs TorchScript files and `.pt2` archives. Imports torch, so this module is imported only when such a file is loaded."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from hubserve.error_messages import first_line
from hubserve.errors import ExportError
from hubserve.package.runner import Batch


class _TorchRunner:
    """Base class of the runners of torch; a subclass loads the model into `_module`.

    Args:
        device: Device of torch, such as "cpu" or "cuda"; "auto" takes a GPU if there is one.
    """

    name: str
    _module: Callable[..., Any]

    def __init__(self, device: str) -> None:
        self.device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device

    def __call__(self, batch: Batch) -> Batch:
        with torch.inference_mode():
            logits: Batch = self._module(torch.from_numpy(batch).to(self.device)).cpu().numpy()
        return logits

    def run(self, inputs: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        """Returns the outputs for a batch of inputs, both in the order of the network's arguments and results.

        Raises:
            ExportError: torch cannot run the model on these inputs.
        """
        try:
            with torch.inference_mode():
                answer = self._module(*(torch.from_numpy(array).to(self.device) for array in inputs))
        except Exception as error:  # torch raises RuntimeError, AssertionError and others.
            shapes = ", ".join(str(array.shape) for array in inputs)
            raise ExportError(f"torch cannot run {self.name} on {shapes}: {first_line(error)}") from error
        outputs = answer if isinstance(answer, list | tuple) else (answer,)
        return tuple(output.cpu().numpy() for output in outputs)


class TorchScriptRunner(_TorchRunner):
    """A runner that loads a TorchScript file and freezes it (`torch.jit.freeze`). Loading and running it may run code.

    A call raises RuntimeError if torch cannot run the model on the batch.

    Args:
        path: Path of the file.
        device: Device of torch, such as "cpu" or "cuda"; "auto" takes a GPU if there is one.

    Raises:
        ExportError: torch cannot load the file, or there is no such device.
    """

    name = "torchscript"

    def __init__(self, path: Path, *, device: str = "cpu") -> None:
        super().__init__(device)
        try:
            with without_deprecation():
                loaded = torch.jit.load(str(path), map_location=self.device)  # type: ignore[no-untyped-call]
                # Constants folded and batch norms merged into convolutions: what a deployment would do.
                self._module = torch.jit.freeze(loaded.eval())
        except (RuntimeError, ValueError) as error:
            raise ExportError(f"TorchScript cannot load {path} on {self.device!r}: {first_line(error)}") from error


class Pt2Runner(_TorchRunner):
    """A runner that loads a `.pt2` archive, the file format of `torch.export`. Loading it may run code.

    A call raises an exception of torch if the model cannot be run on the batch.

    Args:
        path: Path of the archive.
        device: Device of torch, such as "cpu" or "cuda"; "auto" takes a GPU if there is one.

    Raises:
        ExportError: torch cannot load the archive, or there is no such device.
    """

    name = "pt2"

    def __init__(self, path: Path, *, device: str = "cpu") -> None:
        super().__init__(device)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Those of torch's own internals.
                self._module = torch.export.load(path).module().to(self.device)
        except Exception as error:
            raise ExportError(f"torch.export cannot load {path} on {self.device!r}: {first_line(error)}") from error


def set_threads(count: int) -> None:
    """Sets the number of threads that one call into torch may use, for the whole process."""
    torch.set_num_threads(count)


def page_locked_array(shape: tuple[int, ...]) -> Batch:
    """Returns an uninitialised float32 array of `shape` in page-locked memory, from which copies to a GPU are faster.

    Raises:
        RuntimeError: torch has no GPU, or cannot allocate the memory.
    """
    array: Batch = torch.empty(shape, pin_memory=True).numpy()
    return array


@contextmanager
def without_deprecation() -> Iterator[None]:
    """Context manager in whose block torch does not warn that TorchScript is deprecated."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit.*", category=FutureWarning)
        warnings.filterwarnings("ignore", message=r".*torch\.jit.*", category=DeprecationWarning)
        yield
