"""torch.export: PyTorch's own frozen form, read back by torch alone and ready for its ahead-of-time compiler."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from hubserve.errors import ExportError, first_line
from hubserve.export.exportable_model import ExportableModel


def export_pt2(source: ExportableModel, path: Path) -> None:
    """Writes a `.pt2` archive whose batch size is free.

    Raises:
        ExportError: torch.export cannot capture the model.
    """
    program = source.program
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of torch's own internals.
            torch.export.save(program, path)
    except Exception as error:  # Like the capture, saving raises whatever it stumbles on.
        path.unlink(missing_ok=True)
        raise ExportError(f"{source.name} becomes no .pt2 archive: {first_line(error)}") from error
