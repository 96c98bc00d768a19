"""Writes the forms of a model, and proves each one from its file, as somebody else will load it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hubserve.errors import ExportError, PackageError
from hubserve.export.eager import EagerRunner
from hubserve.export.exportable_model import Exportable
from hubserve.export.formats import WRITERS
from hubserve.package.formats import FORMATS
from hubserve.package.manifest import Format
from hubserve.package.parity import ParityReport, check_parity, made_up_batches
from hubserve.package.runner import Batch
from hubserve.preprocess import Preprocess


@dataclass(frozen=True)
class Proven:
    """Forms that were written and passed.

    Attributes:
        exports: form -> what the manifest says of it.
        outputs: logits of a picture.
        reports: one for each form.
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
    pictures: Sequence[Batch] = (),
    classes: Sequence[int] = (),
) -> Proven:
    """Writes each form into `folder`, loads it, and compares it with eager PyTorch.

    Float forms are compared on made-up pictures, in the usual range and in that of `preprocess`, and on `pictures`.
    "onnx-int8" learns from every second batch of `pictures` and is judged by the others alone: on made-up ones its best
    class means nothing.

    Raises:
        PackageError: the network has not `n_labels` classes.
        ExportError: a form cannot be written, or (ParityError) answers differently.
    """
    made_up = made_up_batches(preprocess)
    eager = _Remembering(EagerRunner(model))
    outputs = eager(made_up[0]).shape[1]
    if outputs != n_labels:
        raise PackageError(f"{type(model).__name__} has {outputs} classes and {n_labels} labels")
    if "onnx-int8" in formats and len(pictures) < 2:
        raise ExportError(
            f"onnx-int8 learns the range of every tensor from pictures, and is judged by others: there are {len(pictures)} "
            "batches and it takes two at least; give some 200 pictures of the kind that the model will see (--images FOLDER)"
        )
    exportable = Exportable(model, torch.from_numpy(made_up[1]), calibration=pictures[::2])
    everything = _Judges([*made_up, *pictures], [*[-1] * sum(map(len, made_up)), *classes] if classes else [])
    held_out = _Judges(pictures[1::2], _classes_of_odd(pictures, classes))
    exports: dict[Format, dict[str, Any]] = {}
    reports = []
    for name in formats:
        form, path = FORMATS[name], folder / FORMATS[name].file
        exports[name] = WRITERS[name](exportable, path)
        judges = held_out if form.bounds.error is None else everything
        runner = form.load(path, 1, "cpu")
        reports.append(check_parity(eager, runner, judges.batches, bounds=form.bounds, classes=judges.classes))
    return Proven(exports, outputs, reports)


@dataclass(frozen=True)
class _Judges:
    batches: Sequence[Batch]
    classes: Sequence[int]


def _classes_of_odd(pictures: Sequence[Batch], classes: Sequence[int]) -> list[int]:
    """The classes of batches 1, 3, 5, ..."""
    found: list[int] = []
    start = 0
    for i, batch in enumerate(pictures):
        found += classes[start : start + len(batch)] if i % 2 else []
        start += len(batch)
    return found


class _Remembering:
    """Eager PyTorch is the slowest, and is asked the same for each form."""

    def __init__(self, runner: EagerRunner) -> None:
        self.name, self.device = runner.name, runner.device
        self._runner = runner
        self._answers: dict[int, tuple[Batch, Batch]] = {}

    def __call__(self, batch: Batch) -> Batch:
        if id(batch) not in self._answers:
            self._answers[id(batch)] = (batch, self._runner(batch))  # The batch too, so that its id stays its own.
        return self._answers[id(batch)][1]
