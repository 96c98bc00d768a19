"""Writes the formats of a model, and proves each from its file: loaded again, it answers as eager PyTorch does.

Which differences are allowed is in `hubserve.package.parity`.
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
from hubserve.package.parity import ParityReport, check_parity, made_up_batches
from hubserve.package.runner import Batch
from hubserve.preprocess import Preprocess


@dataclass(frozen=True)
class ProvenFormats:
    """Formats that were written and passed the comparison with eager PyTorch.

    Attributes:
        exports: What the manifest says about each format: opset, precision, ...
        outputs: Number of logits of one image.
        reports: Result of the comparison of each format, in the order in which they were written.
    """

    exports: dict[Format, dict[str, Any]]
    outputs: int
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

    Float formats are compared on generated images, in the usual range and in that of `preprocess`, and on `images`.
    "onnx-int8" is calibrated on every second batch of `images` and compared on the other batches alone: on generated images
    the classes that it predicts mean nothing.

    Args:
        model: Network on any device and in any mode; it is not changed.
        preprocess: Preprocessing of the model, which gives the input size.
        folder: Existing folder for the files.
        formats: Formats to write.
        n_labels: Number of labels, which must be that of the logits.
        images: Batches of prepared images, each (n, 3, height, width) float32.
        classes: True class of each of these images, in order, -1 where unknown; empty where none is known.

    Raises:
        PackageError: The number of logits is not `n_labels`.
        ExportError: A format cannot be written, or (ParityError) its logits differ.
    """
    # One copy for all formats and for the comparison: the caller's model may be in training mode or on a GPU, and what it
    # does with it afterwards must not depend on the export.
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
    reports = []
    for name in formats:
        entry, path = FORMATS[name], folder / FORMATS[name].file
        exports[name] = WRITERS[name](exportable, path)
        batches, truth = held_out if entry.bounds.error is None else everything
        reports.append(check_parity(eager, entry.load(path, 1, "cpu"), batches, bounds=entry.bounds, classes=truth))
    return ProvenFormats(exports, outputs, reports)


def _classes_of_odd(images: Sequence[Batch], classes: Sequence[int]) -> list[int]:
    """The classes of batches 1, 3, 5, ..."""
    remaining = iter(classes)
    by_batch = [list(islice(remaining, len(batch))) for batch in images]
    return [index for batch in by_batch[1::2] for index in batch]


class _CachedRunner:
    """Keeps the logits of each batch: eager PyTorch is the slowest runner, and every format is compared on the same batches."""

    def __init__(self, runner: EagerRunner) -> None:
        self.name, self.device = runner.name, runner.device
        self._runner = runner
        self._answers: dict[int, tuple[Batch, Batch]] = {}

    def __call__(self, batch: Batch) -> Batch:
        if id(batch) not in self._answers:
            self._answers[id(batch)] = (batch, self._runner(batch))  # The batch too: its id must not be used again.
        return self._answers[id(batch)][1]
