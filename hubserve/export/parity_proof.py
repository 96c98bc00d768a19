"""Writes the formats of a model, loads each file again, and compares its logits with those of eager PyTorch.

`hubserve.package.formats` sets the allowed differences of each format; `hubserve.package.parity` compares.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hubserve.errors import ExportError, LogitsError, PackageError
from hubserve.export.calibration_images import calibrating, check_calibration, held_out
from hubserve.export.eager_runner import EagerRunner
from hubserve.export.exportable_model import Classifier, ExportableModel
from hubserve.export.format_writers import WRITERS
from hubserve.package.alone_and_together import check_alone
from hubserve.package.formats import FORMATS
from hubserve.package.manifest import Format
from hubserve.package.onnx_runner import OnnxRunner
from hubserve.package.parity import FLOAT32, ParityReport, check_features, check_parity, made_up_batches
from hubserve.package.runner import Batch, Runner, check_finite


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
    classifier: Classifier,
    folder: Path,
    *,
    formats: Sequence[Format],
    images: Sequence[Batch] = (),
    classes: Sequence[int] = (),
    failed: dict[Format, ExportError] | None = None,
) -> ProvenFormats:
    """Writes each format into `folder`, loads the file again, and compares its logits with those of eager PyTorch.

    Floating-point formats are compared on `images` and on generated images, some in the value range that is usual for networks
    and some in that of `classifier.preprocess`. Formats in 8-bit integers are calibrated on every second batch of `images` and
    compared on the other batches only, because the classes that they predict for generated images are not meaningful. The
    features of formats in ONNX are compared like their logits. Eager PyTorch and each format must answer an image alone as in a
    batch of others.

    Args:
        model: Network on any device, in training or eval mode; it is not changed.
        classifier: Preprocessing of the model, which also sets the input size, and its labels, as many as there are logits.
        folder: Existing folder for the files.
        formats: Formats to write.
        images: Batches of preprocessed images, each (n, 3, height, width) float32; 8-bit integers need at least two.
        classes: Index of the true class of each of these images, in order, -1 if unknown; empty if none is known.
        failed: Empty dictionary that gets the error of each format that cannot be written or loaded, lacks images, or has other
            logits; its files are removed, and the other formats are still written. None raises the first such error.

    Returns:
        The formats that passed, of which there may be none if `failed` is given.

    Raises:
        PackageError: The number of logits is not that of the labels.
        ExportError: The network does not answer n images with n rows of finite float32 logits, or (ParityError) an image alone
            as in a batch. With `failed` None also: a format cannot be written or loaded, there are too few images, or
            (ParityError) its logits or features differ by more than allowed, or its logits for an image alone.
    """
    # The caller's model may be in training mode or on a GPU and must not be changed, so a copy of it is exported.
    model = contiguous(copy.deepcopy(model).cpu().eval())
    made_up = made_up_batches(classifier.preprocess)
    eager = _CachedRunner(EagerRunner(model))
    several = made_up[2:4]
    _check_answers(eager, [*made_up, *images], type(model).__name__)
    check_alone(eager, several, bounds=FLOAT32)
    outputs = eager(made_up[0]).shape[1]
    if outputs != len(classifier.labels):
        raise PackageError(f"{type(model).__name__} has {outputs} classes and {len(classifier.labels)} labels")
    for name in formats:
        with _collecting(name, failed):
            check_calibration(name, images)
    exportable = ExportableModel(model, torch.from_numpy(made_up[1]), calibration=calibrating(images), classifier=classifier)
    everything = [*made_up, *images], [*[-1] * sum(map(len, made_up)), *classes] if classes else []
    exports: dict[Format, dict[str, Any]] = {}
    reports: list[ParityReport] = []
    for name in formats:
        if name in (failed or {}):
            continue
        entry = FORMATS[name]
        batches, truth = held_out(images, classes) if entry.bounds.error is None else everything
        with _collecting(name, failed, [folder / file for file in entry.files]):
            made = WRITERS[name](exportable, folder / entry.file)
            reports.append(_compare(name, eager, folder / entry.file, batches, several, truth))
            exports[name] = made
    width = exportable.feature_width if any(report.features is not None for report in reports) else None
    return ProvenFormats(exports, outputs, width, reports)


def _check_answers(eager: Runner, batches: Sequence[Batch], name: str) -> None:
    """Checks that the logits of eager PyTorch are finite. Raises ExportError, also where a batch cannot be run."""
    for batch in batches:
        try:
            check_finite(eager(batch))
        except LogitsError as error:
            raise ExportError(f"{name} cannot be exported: {error}") from error


def contiguous(model: nn.Module) -> nn.Module:
    """Returns `model`, all of whose parameters and buffers were made contiguous in memory.

    LiteRT's converter reads the memory of a transposed or channels-last tensor as if it were contiguous, and its file then
    computes other logits.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.contiguous()
    return model


@contextmanager
def _collecting(name: Format, failed: dict[Format, ExportError] | None, files: Sequence[Path] = ()) -> Iterator[None]:
    """Context manager that stores an ExportError of its block as `failed[name]`, and removes `files`.

    If `failed` is None, the error is passed on, and the files stay.
    """
    try:
        yield
    except ExportError as error:
        if failed is None:
            raise
        failed[name] = error
        for path in files:
            path.unlink(missing_ok=True)


def _compare(
    name: Format,
    eager: "_CachedRunner",
    path: Path,
    batches: Sequence[Batch],
    several: Sequence[Batch],
    classes: Sequence[int],
) -> ParityReport:
    """Loads the file of a format, compares it with eager PyTorch, and returns the report.

    Args:
        name: The format.
        eager: Runner of eager PyTorch.
        path: File of the format.
        batches: Batches on which the logits, and the features if the format has them, are compared.
        several: Batches of which each image must have the same logits alone.
        classes: Index of the true class of each image in `batches`; empty if none is known.

    Raises:
        ExportError: The file cannot be loaded or run, or (ParityError) its logits or features differ.
    """
    bounds = FORMATS[name].bounds
    runner = FORMATS[name].load(path, 1, "cpu")
    report = check_parity(eager, runner, batches, bounds=bounds, classes=classes)
    report = report.model_copy(update={"alone_error": check_alone(runner, several, bounds=bounds)})
    if isinstance(runner, OnnxRunner) and runner.has_features:
        features = check_features(eager, runner, batches, bounds=bounds)
        report = report.model_copy(update={"features": features})
    return report


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
