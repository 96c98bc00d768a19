"""Writes ONNX files whose latency is measured in a search, where most networks are measured once and thrown away."""

from pathlib import Path

import onnx
import torch

from hubserve.export.exportable_model import ExportableModel
from hubserve.export.onnx import OPSET, export_onnx
from hubserve.export.quiet_exporters import quiet_exporters
from hubserve.package.example_arrays import BATCH_AXIS
from hubserve.package.onnx_runner import INPUT, OUTPUT


def export_onnx_for_timing(source: ExportableModel, path: Path) -> None:
    """Writes a model as an ONNX file that takes as long to run as that of `export_onnx`, and far less time to write.

    An image classifier is traced by torch's older exporter (`dynamo=False`) and simplified by the optimizer of the newer one.
    This takes 0.1 to 1.5 seconds where the newer one takes 2 to 14 (docs/decisions/0057). ONNX Runtime turns both files into
    the same graph, but for the operator of the last pooling. This does not hold for networks that compute with the shapes of
    tensors, such as transformers. These, models of other inputs, and what the older exporter refuses are written by
    `export_onnx`.

    Args:
        source: Model to export.
        path: File to write.

    Raises:
        ExportError: `export_onnx` fails; nothing is left at `path`.
    """
    if source.signature is not None or not _traced(source, path):
        export_onnx(source, path)


def _traced(source: ExportableModel, path: Path) -> bool:
    """Writes a file by torch's older exporter; returns whether its graph is that of the newer one."""
    from onnxscript import optimizer  # Imported here, as the import takes half a second.

    try:
        with quiet_exporters():
            torch.onnx.export(
                source.model,
                source.inputs,
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: {0: BATCH_AXIS}, OUTPUT: {0: BATCH_AXIS}},
            )
        model = onnx.load(str(path))
        if any(node.op_type == "Shape" for node in model.graph.node):
            return False
        onnx.save(optimizer.optimize(model), str(path))
        return True
    except Exception:  # It raises exceptions without a common base; the newer exporter decides whether there is an error.
        return False
