"""The format .pt2 of torch.export, which torch alone reads and its ahead-of-time compiler takes."""

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
            warnings.simplefilter("ignore")  # About torch's own internals.
            torch.export.save(program, path)
    except Exception as error:  # The exceptions of torch.export have no common base.
        path.unlink(missing_ok=True)
        raise ExportError(f"{source.name} becomes no .pt2 archive: {first_line(error)}") from error
