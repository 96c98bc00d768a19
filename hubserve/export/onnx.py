"""Writes float32 ONNX files with torch's exporter."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch

from hubserve.error_messages import first_line
from hubserve.errors import ExportError
from hubserve.export.exportable_model import ExportableModel
from hubserve.export.onnx_features import add_feature_output
from hubserve.package.onnx_runner import INPUT, OUTPUT

OPSET = 20


def export_onnx(source: ExportableModel, path: Path, *, opset: int = OPSET) -> None:
    """Writes a model as one ONNX file with a dynamic batch size.

    The exporter's optimizer simplifies the graph: it folds constants, merges batch norms into convolutions, and removes
    operations that have no effect in inference, such as dropout.

    The file has the output "logits", and a second one, "features", where a linear layer or a convolution computes the logits.

    Args:
        source: Model to export.
        path: File to write; the weights are stored inside it.
        opset: Version of the ONNX operator set.

    Raises:
        ExportError: The exporter failed, or its file is not valid; the file is removed then.
    """
    program = source.program
    try:
        with _quietly():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=opset,
                optimize=True,
                external_data=False,
                verbose=False,
            )
            if exported is None:
                raise ExportError("the exporter of torch returned nothing")
            if source.feature_width is not None:
                add_feature_output(exported.model.graph, source.feature_width)
            exported.save(str(path), external_data=False)
        onnx.checker.check_model(str(path))
    except Exception as error:  # The exporter and the checker raise exceptions without a common base.
        path.unlink(missing_ok=True)
        raise ExportError(f"{source.name} becomes no ONNX file: {type(error).__name__}: {first_line(error)}") from error


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Silences the exporter in the block: it prints its progress and warns about its own internals."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
