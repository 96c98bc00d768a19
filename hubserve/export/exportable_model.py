"""The input of every writer: a model in eval mode with example inputs, and what torch.export makes of them."""

import warnings
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import nn

from hubserve.errors import ExportError, first_line
from hubserve.package.runner import Batch


class ExportableModel:
    """A model with example inputs, from which every format is written.

    Args:
        model: Network on the CPU; it is put in eval mode, not copied.
        example: Prepared images, (n, 3, height, width) float32. Exported formats take any n; height and width become fixed.
        calibration: Batches of prepared images as the model will see them, each (n, 3, height, width), for formats that need
            the range of every tensor.
    """

    def __init__(self, model: nn.Module, example: torch.Tensor, *, calibration: Sequence[Batch] = ()) -> None:
        self.name = type(model).__name__
        self.model = model.eval()
        self.calibration = calibration
        # torch.export takes a batch of one for a constant.
        self.example = example if len(example) > 1 else example.repeat(2, 1, 1, 1)

    @cached_property
    def program(self) -> torch.export.ExportedProgram:
        """The program that torch.export captures, with a dynamic batch size; ONNX and .pt2 are written from it.

        Raises:
            ExportError: torch.export cannot capture the model.
        """
        batch = {0: torch.export.Dim("batch", min=1)}
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")  # About torch's own internals.
                return torch.export.export(self.model, (self.example,), dynamic_shapes=(batch,))
        except Exception as error:  # torch.export has no common base of its exceptions.
            raise ExportError(f"torch.export cannot capture {self.name}: {first_line(error)}") from error
