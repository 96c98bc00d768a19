"""What every exported form is written from: a model in eval mode with an example of its input."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import nn

from hubserve.errors import ExportError, first_line
from hubserve.package.runner import Batch


class Exportable:
    """A copy of a model, in eval mode, and example pictures.

    Args:
        model: left as it is.
        example: prepared pictures (n, 3, height, width). Exported forms take any n; height and width become fixed.
        calibration: batches of prepared pictures as they come in use, for forms that must know the range of every tensor.
    """

    def __init__(self, model: nn.Module, example: torch.Tensor, *, calibration: Sequence[Batch] = ()) -> None:
        self.name = type(model).__name__
        self.model = copy.deepcopy(model).eval()
        self.calibration = calibration
        # torch.export takes a batch of one for a constant.
        self.example = example if len(example) > 1 else example.repeat(2, 1, 1, 1)

    @cached_property
    def program(self) -> torch.export.ExportedProgram:
        """What torch.export makes of the model, with a free batch size; ONNX is written from it too.

        Raises:
            ExportError: torch.export cannot follow the model.
        """
        batch = {0: torch.export.Dim("batch", min=1)}
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")  # Of torch's own internals.
                return torch.export.export(self.model, (self.example,), dynamic_shapes=(batch,))
        except Exception as error:  # torch.export raises whatever it stumbles on.
            raise ExportError(f"torch.export cannot follow {self.name}: {first_line(error)}") from error
