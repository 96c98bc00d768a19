"""Runs ExecuTorch programs. Imports torch, whose tensors ExecuTorch takes; so it is imported only to load a program."""

from pathlib import Path

import torch

from hubserve.error_messages import first_line
from hubserve.errors import ExportError
from hubserve.package.mobile_runners import OneByOneRunner, not_installed
from hubserve.package.runner import Batch


class ExecuTorchRunner(OneByOneRunner):
    """A runner that loads a `.pte` file into ExecuTorch, the runtime of PyTorch for phones.

    Args:
        path: Path of the file.
        threads: Number of threads that one call may use; ExecuTorch has one setting for the process, so the runner that is
            loaded last sets it.
        name: Name of the format.

    Raises:
        ExportError: ExecuTorch is not installed, or cannot load the file.
    """

    def __init__(self, path: Path, *, threads: int = 1, name: str = "executorch") -> None:
        super().__init__()
        self.name = name
        try:
            from executorch.extension.pybindings import portable_lib
            from executorch.runtime import Runtime
        except ImportError as error:
            raise not_installed("ExecuTorch", "executorch", error) from error
        # The only setting of the number of threads in Python.
        if portable_lib._threadpool_get_thread_count() != threads:
            portable_lib._unsafe_reset_threadpool(threads)
        try:
            self._program = Runtime.get().load_program(path)
            self._method = self._program.load_method("forward")
        except Exception as error:  # The errors of ExecuTorch have no common base.
            raise ExportError(f"ExecuTorch cannot load {path}: {first_line(error)}") from error

    def _logits(self, image: Batch) -> Batch:
        logits: Batch = self._method.execute([torch.from_numpy(image[None])])[0].numpy()[0].copy()
        return logits
