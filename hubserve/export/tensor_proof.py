"""Writes the formats of a model of any inputs, loads each file again, and compares its outputs with those of eager PyTorch."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from hubserve.errors import ExportError
from hubserve.export.eager_tensor_runner import EagerTensorRunner
from hubserve.export.exportable_model import ExportableModel
from hubserve.export.format_writers import WRITERS
from hubserve.export.parity_proof import ProvenFormats, contiguous
from hubserve.package.formats import FORMATS, TENSOR_FORMATS
from hubserve.package.manifest import Format
from hubserve.package.parity import ParityReport
from hubserve.package.signature import Array, ModelSignature
from hubserve.package.tensor_parity import check_outputs, check_rows_alone


def write_proven_tensors(
    model: nn.Module,
    signature: ModelSignature,
    folder: Path,
    *,
    formats: Sequence[Format],
    batches: Sequence[Sequence[Array]] = (),
) -> ProvenFormats:
    """Writes each format into `folder`, loads the file again, and compares its outputs with those of eager PyTorch.

    They are compared on made-up inputs of several batch sizes and lengths: the smallest length, the largest one (at most
    `LONGEST_TRIED`), one in between, and the one that the model is exported with. Eager PyTorch and each format must answer a
    row alone, without padding, as in a batch of others.

    Args:
        model: Network on any device, in training or eval mode; it is not changed.
        signature: Inputs and outputs of the model.
        folder: Existing folder for the files.
        formats: Formats to write.
        batches: Batches of real inputs, on which the outputs are compared in addition.

    Raises:
        ExportError: The network does not return what its signature says or returns NaN or infinity, a format is for image
            classifiers only or cannot be written or loaded, or (ParityError) the outputs of a format differ by more than
            allowed, or those of a row alone, also in eager PyTorch.
    """
    other = [name for name in formats if name not in TENSOR_FORMATS]
    if other:
        raise ExportError(
            f"{other[0]} is for image classifiers, and {type(model).__name__} takes {signature.described}: choose from "
            f"{', '.join(TENSOR_FORMATS)}"
        )
    model = contiguous(copy.deepcopy(model).cpu().eval())
    batches = [*signature.compared_batches(), *batches]
    eager = EagerTensorRunner(model, signature)
    for batch in batches:
        for described, output in zip(signature.outputs, eager.run(batch), strict=True):
            if not np.isfinite(output).all():
                shapes = ", ".join(str(array.shape) for array in batch)
                raise ExportError(f"{type(model).__name__} answers inputs {shapes} with {described.name} that is not finite")
    check_rows_alone(eager, signature, batches)
    exportable = ExportableModel(model, signature=signature)
    exports: dict[Format, dict[str, Any]] = {}
    reports: list[ParityReport] = []
    for name in formats:
        entry, path = FORMATS[name], folder / FORMATS[name].file
        exports[name] = WRITERS[name](exportable, path)
        load = entry.load_tensors
        if load is None:
            raise ExportError(f"{name} is for image classifiers")
        runner = load(path, 1, "cpu")
        report = check_outputs(eager, runner, signature, batches, bounds=entry.bounds)
        alone = check_rows_alone(runner, signature, batches, bounds=entry.bounds)
        reports.append(report.model_copy(update={"alone_error": alone}))
    return ProvenFormats(exports, signature.classes, None, reports)
