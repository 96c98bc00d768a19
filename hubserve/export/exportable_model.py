"""The argument of every format writer: a model with example inputs, and the program that torch.export captures from it."""

import warnings
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import nn

from hubserve.error_messages import first_line
from hubserve.errors import ExportError
from hubserve.last_layer import last_layer
from hubserve.package.runner import Batch


class ExportableModel:
    """A model with example inputs, from which every format is written.

    Args:
        model: Network on the CPU; it is not copied, but put in eval mode.
        example: Preprocessed images, (n, 3, height, width) float32. Exported files accept any n, but only this height and
            width.
        calibration: Batches of preprocessed images like those that the model will classify, each (n, 3, height, width). Only
            "onnx-int8" needs them, to measure the range of every tensor.
    """

    def __init__(self, model: nn.Module, example: torch.Tensor, *, calibration: Sequence[Batch] = ()) -> None:
        self.name = type(model).__name__
        self.model = model.eval()
        self.calibration = calibration
        # With a batch of one, torch.export would fix the batch size to 1.
        self.example = example if len(example) > 1 else example.repeat(2, 1, 1, 1)

    @cached_property
    def feature_width(self) -> int | None:
        """Number of features of an image, the inputs of the layer that computes the logits; None where there is no such layer.

        See `hubserve.last_layer.last_layer`.
        """
        last = last_layer(self.model, self.example)
        return None if last is None else last.weight[0].numel()

    @cached_property
    def program(self) -> torch.export.ExportedProgram:
        """The program that torch.export captures, with a dynamic batch size; ONNX and .pt2 are written from it.

        Raises:
            ExportError: torch.export cannot capture the model.
        """
        batch = {0: torch.export.Dim("batch", min=1)}
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")  # They are about torch's own internals.
                return torch.export.export(self.model, (self.example,), dynamic_shapes=(batch,))
        except Exception as error:  # torch.export has no common base of its exceptions.
            raise ExportError(f"torch.export cannot capture {self.name}: {first_line(error)}") from error
