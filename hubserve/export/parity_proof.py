"""Writes the formats of a model, loads each file again, and compares its logits with those of eager PyTorch.

`hubserve.package.formats` sets the allowed differences of each format; `hubserve.package.parity` compares.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hubserve.errors import ExportError, PackageError
from hubserve.export.eager_runner import EagerRunner
from hubserve.export.exportable_model import ExportableModel
from hubserve.export.format_writers import WRITERS
from hubserve.package.formats import FORMATS
from hubserve.package.manifest import Format
from hubserve.package.onnx_runner import OnnxRunner
from hubserve.package.parity import ParityReport, check_features, check_parity, made_up_batches
from hubserve.package.runner import Batch
from hubserve.preprocess import Preprocess


@dataclass(frozen=True)
class ProvenFormats:
    """Result of `write_proven`: formats that were written and passed the comparison with eager PyTorch.

    Attributes:
        exports: Entry of each format in the manifest: its opset, precision, ...
        outputs: Number of logits for one image.
        feature_width: Number of features for one image; None where no format has features.
        reports: Result of the comparison of each format, in the order in which the formats were written.
    """

    exports: dict[Format, dict[str, Any]]
    outputs: int
    feature_width: int | None
    reports: list[ParityReport]


def write_proven(
    model: nn.Module,
    preprocess: Preprocess,
    folder: Path,
    *,
    formats: Sequence[Format],
    n_labels: int,
    images: Sequence[Batch] = (),
    classes: Sequence[int] = (),
) -> ProvenFormats:
    """Writes each format into `folder`, loads the file again, and compares its logits with those of eager PyTorch.

    Floating-point formats are compared on `images` and on generated images, some in the value range that is usual for networks
    and some in that of `preprocess`. "onnx-int8" is calibrated on every second batch of `images` and compared on the other
    batches only, because the classes that it predicts for generated images are not meaningful. The features of formats in ONNX
    are compared like their logits.

    Args:
        model: Network on any device, in training or eval mode; it is not changed.
        preprocess: Preprocessing of the model, which also sets the input size.
        folder: Existing folder for the files.
        formats: Formats to write.
        n_labels: Number of labels, which must be the number of logits.
        images: Batches of preprocessed images, each (n, 3, height, width) float32; "onnx-int8" needs at least two.
        classes: Index of the true class of each of these images, in order, -1 if unknown; empty if none is known.

    Raises:
        PackageError: The number of logits is not `n_labels`.
        ExportError: A format cannot be written or loaded, there are too few images, or (ParityError) the logits or features of
            a format differ by more than allowed.
    """
    # The caller's model may be in training mode or on a GPU and must not be changed, so a copy of it is exported.
    model = copy.deepcopy(model).cpu().eval()
    made_up = made_up_batches(preprocess)
    eager = _CachedRunner(EagerRunner(model))
    outputs = eager(made_up[0]).shape[1]
    if outputs != n_labels:
        raise PackageError(f"{type(model).__name__} has {outputs} classes and {n_labels} labels")
    if "onnx-int8" in formats and len(images) < 2:
        raise ExportError(
            "onnx-int8 needs images to calibrate the range of every tensor, and others to be compared on: at least two "
            f"batches, and there are {len(images)}; give some 200 images of the kind that the model will see (--images FOLDER)"
        )
    exportable = ExportableModel(model, torch.from_numpy(made_up[1]), calibration=images[::2])
    everything = [*made_up, *images], [*[-1] * sum(map(len, made_up)), *classes] if classes else []
    held_out = images[1::2], _classes_of_odd(images, classes)
    exports: dict[Format, dict[str, Any]] = {}
    reports: list[ParityReport] = []
    for name in formats:
        entry, path = FORMATS[name], folder / FORMATS[name].file
        exports[name] = WRITERS[name](exportable, path)
        batches, truth = held_out if entry.bounds.error is None else everything
        runner = entry.load(path, 1, "cpu")
        report = check_parity(eager, runner, batches, bounds=entry.bounds, classes=truth)
        if isinstance(runner, OnnxRunner) and runner.has_features:
            features = check_features(eager, runner, batches, bounds=entry.bounds)
            report = report.model_copy(update={"features": features})
        reports.append(report)
    width = exportable.feature_width if any(report.features is not None for report in reports) else None
    return ProvenFormats(exports, outputs, width, reports)


def _classes_of_odd(images: Sequence[Batch], classes: Sequence[int]) -> list[int]:
    """Returns the classes of the images in the batches 1, 3, 5, ..., counted from 0."""
    remaining = iter(classes)
    by_batch = [list(islice(remaining, len(batch))) for batch in images]
    return [index for batch in by_batch[1::2] for index in batch]


class _CachedRunner:
    """Runner that keeps the answers to each batch, because each format is compared on the same batches and PyTorch is slow."""

    def __init__(self, runner: EagerRunner) -> None:
        self.name, self.device = runner.name, runner.device
        self._runner = runner
        self._answers: dict[int, tuple[Batch, Batch]] = {}
        self._features: dict[int, tuple[Batch, Batch]] = {}

    def __call__(self, batch: Batch) -> Batch:
        if id(batch) not in self._answers:
            self._answers[id(batch)] = (batch, self._runner(batch))  # Keeping the batch prevents that its id is reused.
        return self._answers[id(batch)][1]

    def with_features(self, batch: Batch) -> tuple[Batch, Batch]:
        if id(batch) not in self._features:
            self._features[id(batch)] = (batch, self._runner.with_features(batch)[1])
        return self(batch), self._features[id(batch)][1]
