"""Writes LiteRT files (`.tflite`), in float32 or in 8-bit integers, as apps take them: RGB pixels, channels last, one image.

MediaPipe normalises all channels alike, so each file takes pixels 0..255 and normalises them itself.
Each file has the outputs "probabilities", for apps, and "logits", which are compared with those of eager PyTorch. Its metadata
let MediaPipe Tasks open it as an image classifier.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hubserve.error_messages import first_line
from hubserve.errors import ExportError
from hubserve.export.exportable_model import Classifier, ExportableModel
from hubserve.export.litert_metadata import add_metadata
from hubserve.export.missing_extra import needs_extra
from hubserve.export.quiet_exporters import quiet_exporters
from hubserve.host import cores
from hubserve.package.mobile_runners import LITERT_INPUT, LITERT_OUTPUT, pixels_of

SIGNATURE = "serving_default"
"""Name that the converter gives to the entry point of a file."""


def export_litert(source: ExportableModel, path: Path) -> None:
    """Writes a model as a LiteRT file in float32, with metadata.

    Args:
        source: Model to export; its `classifier` says what images and classes it has.
        path: File to write.

    Raises:
        ExportError: litert-torch or mediapipe is not installed, the model has no `classifier`, or it cannot be converted.
    """
    with _explained(source, path):
        _convert(source, path)
        add_metadata(path, _classifier(source))


def export_litert_int8(source: ExportableModel, path: Path) -> None:
    """Writes a model as a LiteRT file that computes in 8-bit integers; its input and outputs stay float32.

    Weights have a scale for each channel. Activations have one for each tensor, which the images of `source.calibration` set.

    Args:
        source: Model to export with its `classifier`, and images for calibration.
        path: File to write.

    Raises:
        ExportError: litert-torch or mediapipe is not installed, there are no images or no `classifier`, or the model cannot be
            converted.
    """
    images = [image for batch in source.calibration for image in batch]
    if not images:
        raise ExportError(
            "litert-int8 needs images to calibrate the range of every tensor, and there are none (--images FOLDER)"
        )
    with _explained(source, path), tempfile.TemporaryDirectory(prefix="hubserve.") as folder:
        float32 = Path(folder) / "model.tflite"
        _convert(source, float32)
        preprocess = _classifier(source).preprocess
        _quantize(float32, path, [{LITERT_INPUT: pixels_of(image, preprocess)} for image in images])
        add_metadata(path, _classifier(source))


class _ForApps(nn.Module):
    """A network that takes RGB pixels 0..255, (1, height, width, 3), and gives probabilities beside the logits.

    Args:
        network: Network with the input (n, 3, height, width), prepared.
        classifier: How the images of the network are prepared, and its temperature.
    """

    factor: torch.Tensor
    offset: torch.Tensor

    def __init__(self, network: nn.Module, classifier: Classifier) -> None:
        super().__init__()
        preprocess = classifier.preprocess
        self.network = network
        self.bgr = preprocess.channels == "bgr"
        self.temperature = classifier.temperature or 1.0
        mean, std = torch.tensor(preprocess.mean)[:, None, None], torch.tensor(preprocess.std)[:, None, None]
        self.register_buffer("factor", 1 / (preprocess.scale * std))
        self.register_buffer("offset", -mean / std)

    def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        planes = pixels.permute(0, 3, 1, 2)
        prepared = (planes.flip(1) if self.bgr else planes) * self.factor + self.offset
        logits = self.network(prepared)
        return {"probabilities": torch.softmax(logits / self.temperature, -1), LITERT_OUTPUT: logits}


def _classifier(source: ExportableModel) -> Classifier:
    if source.classifier is None:
        raise ExportError(f"{source.name}: a LiteRT file describes its images and classes, and they are not given")
    return source.classifier


def _convert(source: ExportableModel, path: Path) -> None:
    with needs_extra("litert-torch", "litert"):
        import litert_torch
    classifier = _classifier(source)
    pixels = torch.from_numpy(pixels_of(source.example[0].numpy(), classifier.preprocess))
    with torch.no_grad():
        module = _ForApps(source.model, classifier).eval()
        litert_torch.convert(module, sample_kwargs={LITERT_INPUT: pixels}).export(str(path))


def _quantize(float32: Path, path: Path, images: list[dict[str, np.ndarray[Any, Any]]]) -> None:
    from ai_edge_quantizer import calibrator, quantizer, recipe, recipe_manager
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    conversion = quantizer.Quantizer(str(float32), recipe.static_wi8_ai8())
    # Apps read and write float32, and probabilities of 8 bits would be rounded to 1/256.
    for operation in (TFLOperationName.INPUT, TFLOperationName.OUTPUT, TFLOperationName.SOFTMAX):
        conversion.update_quantization_recipe(regex=".*", operation_name=operation, algorithm_key=AlgorithmName.NO_QUANTIZE)
    rules = recipe_manager.RecipeManager()
    rules.load_quantization_recipe(conversion.get_quantization_recipe())
    # The quantizer's own calibration averages the ranges of images, the first one with the most weight, and cuts off values
    # beyond: a random network of 16 images lost ten times as much.
    measure = calibrator.Calibrator(str(float32), num_threads=cores(), qsv_update_func=min_max_update)
    measure.calibrate({SIGNATURE: images}, rules)
    conversion.quantize(measure.get_model_qsvs(), enable_progress_report=False).export_model(str(path), overwrite=True)


@contextmanager
def _explained(source: ExportableModel, path: Path) -> Iterator[None]:
    """Silences the converter in the block; turns its exceptions into ExportErrors, and removes the file `path` after them."""
    try:
        with quiet_exporters():
            yield
    except Exception as error:  # The errors of the converter have no common base.
        path.unlink(missing_ok=True)
        if isinstance(error, ExportError):
            raise
        raise ExportError(f"{source.name} becomes no LiteRT file: {type(error).__name__}: {first_line(error)}") from error
