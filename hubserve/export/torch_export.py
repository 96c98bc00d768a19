"""torch.export: PyTorch's own frozen form, read back by torch alone and ready for its ahead-of-time compiler."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from hubserve.errors import ExportError
from hubserve.export.exportable import Exportable, first_line
from hubserve.export.runner import Batch


def export_pt2(source: Exportable, path: Path) -> None:
    """Writes a `.pt2` archive whose batch size is free.

    Raises:
        ExportError: torch.export cannot follow the model.
    """
    program = source.program
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of torch's own internals.
            torch.export.save(program, path)
    except Exception as error:  # Like the capture, saving raises whatever it stumbles on.
        path.unlink(missing_ok=True)
        raise ExportError(f"{source.name} becomes no .pt2 archive: {first_line(error)}") from error


class Pt2Runner:
    """A `.pt2` archive, loaded.

    Raises:
        ExportError: the file is damaged, or the device is not there.
    """

    name = "pt2"

    def __init__(self, path: Path, *, device: str = "cpu") -> None:
        self.device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Of torch's own internals.
                self._module = torch.export.load(path).module().to(self.device)
        except Exception as error:
            raise ExportError(f"torch.export cannot load {path} on {self.device!r}: {first_line(error)}") from error

    def __call__(self, batch: Batch) -> Batch:
        with torch.inference_mode():
            logits: Batch = self._module(torch.from_numpy(batch).to(self.device)).cpu().numpy()
        return logits
