"""The argument of every format writer: a model with example inputs, and the program that torch.export captures from it."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from hubserve.error_messages import first_line
from hubserve.errors import ExportError
from hubserve.last_layer import last_layer
from hubserve.package.example_arrays import BATCH_AXIS
from hubserve.package.runner import Batch
from hubserve.package.signature import ModelSignature
from hubserve.preprocess import Preprocess


@dataclass(frozen=True)
class Classifier:
    """What an app needs to know of an image classifier, beside the network.

    Attributes:
        name: Name of the model.
        preprocess: Preparation of images.
        labels: Label of each class, in the order of the logits.
        temperature: Number by which logits are divided before the softmax; None leaves them as they are.
    """

    name: str
    preprocess: Preprocess
    labels: Sequence[str]
    temperature: float | None = None


class ExportableModel:
    """A model with example inputs, from which every format is written.

    Args:
        model: Network on the CPU; it is not copied, but put in eval mode.
        example: Preprocessed images, (n, 3, height, width) float32. Exported files accept any n, except those for phones and
            boards, which take one image; all accept only this height and width. None if `signature` is given.
        calibration: Batches of preprocessed images like those that the model will classify, each (n, 3, height, width). Only
            the formats in 8-bit integers need them, to measure the range of every tensor.
        classifier: Its images and classes, which ONNX and LiteRT files describe in their metadata; None leaves the description
            out.
        signature: Inputs and outputs of a model that is no image classifier; its example inputs are made up from them. Exported
            files accept any length of the named axes within their limits. None means an image classifier.

    Attributes:
        name: Name of the network's class.
        inputs: The example inputs, in the order of the network's arguments, with at least two rows.

    Raises:
        ExportError: Neither `example` nor `signature` is given.
    """

    def __init__(
        self,
        model: nn.Module,
        example: torch.Tensor | None = None,
        *,
        calibration: Sequence[Batch] = (),
        classifier: Classifier | None = None,
        signature: ModelSignature | None = None,
    ) -> None:
        self.name = type(model).__name__
        self.model = model.eval()
        self.calibration, self.classifier, self.signature = calibration, classifier, signature
        self.inputs: tuple[torch.Tensor, ...]
        if signature is not None:
            self.inputs = tuple(map(torch.from_numpy, signature.export_batch()))
        elif example is not None:
            # With a batch of one, torch.export would fix the batch size to 1.
            self.inputs = (example if len(example) > 1 else example.repeat(2, 1, 1, 1),)
        else:
            raise ExportError(f"{self.name} needs example images or a signature to be exported")

    @property
    def example(self) -> torch.Tensor:
        """The example images of an image classifier; the first example input of any other model."""
        return self.inputs[0]

    @cached_property
    def feature_width(self) -> int | None:
        """Number of features of an image, the inputs of the linear layer or convolution that computes the logits.

        It is None if another module computes them, or the model is no image classifier.
        """
        if self.signature is not None:
            return None
        last = last_layer(self.model, self.example)
        return None if last is None else last.weight[0].numel()

    @cached_property
    def program(self) -> torch.export.ExportedProgram:
        """The program that torch.export captures, from which ONNX and .pt2 are written.

        Its named axes are dynamic, except those whose signature allows a single length.

        Raises:
            ExportError: torch.export cannot capture the model.
        """
        if self.signature is None:
            return self._captured(self.inputs, ({0: torch.export.Dim(BATCH_AXIS, min=1)},))
        limits = {BATCH_AXIS: (1, None), **self.signature.axes}
        dims = {
            axis: torch.export.Dim(axis, min=smallest, max=largest)
            for axis, (smallest, largest) in limits.items()
            if smallest != largest
        }
        shapes = [
            {place: dims[axis] for place, axis in enumerate(entry.shape) if isinstance(axis, str) and axis in dims}
            for entry in self.signature.inputs
        ]
        return self._captured(self.inputs, tuple(shapes))

    @cached_property
    def single_image_program(self) -> torch.export.ExportedProgram:
        """The program that torch.export captures for one image, from which ExecuTorch programs are written.

        Raises:
            ExportError: torch.export cannot capture the model.
        """
        return self._captured((self.example[:1],), None)

    def _captured(self, inputs: tuple[torch.Tensor, ...], dynamic_shapes: Any) -> torch.export.ExportedProgram:
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")  # They are about torch's own internals.
                return torch.export.export(self.model, inputs, dynamic_shapes=dynamic_shapes)
        except Exception as error:  # torch.export has no common base of its exceptions.
            raise ExportError(f"torch.export cannot capture {self.name}: {first_line(error)}") from error
