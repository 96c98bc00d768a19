"""Runs TorchScript files and `.pt2` archives. Imports torch, so it is imported only when such a file is loaded."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from hubserve.errors import ExportError, first_line
from hubserve.package.runner import Batch


class _TorchRunner:
    """Runs the module that a subclass loads.

    Args:
        device: Device of torch; "auto" for a GPU where there is one.
    """

    _module: Callable[[torch.Tensor], torch.Tensor]

    def __init__(self, device: str) -> None:
        self.device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device

    def __call__(self, batch: Batch) -> Batch:
        with torch.inference_mode():
            logits: Batch = self._module(torch.from_numpy(batch).to(self.device)).cpu().numpy()
        return logits


class TorchScriptRunner(_TorchRunner):
    """A runner that loads and freezes a TorchScript file.

    Raises:
        ExportError: The file is corrupt, or there is no such device.
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
    """A runner that loads a `.pt2` archive, the file format of `torch.export`.

    Raises:
        ExportError: The file is corrupt, or there is no such device.
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
    """Sets how many threads one call into torch may use, in all of this process."""
    torch.set_num_threads(count)


def page_locked_array(shape: tuple[int, ...]) -> Batch:
    """Returns an uninitialised float32 array of `shape` in page-locked memory, from which copies to a GPU are faster."""
    array: Batch = torch.empty(shape, pin_memory=True).numpy()
    return array


@contextmanager
def without_deprecation() -> Iterator[None]:
    """Inside, torch does not warn that TorchScript is deprecated."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit.*", category=FutureWarning)
        warnings.filterwarnings("ignore", message=r".*torch\.jit.*", category=DeprecationWarning)
        yield
