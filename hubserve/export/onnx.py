"""Writes float32 ONNX files with torch's exporter."""

import json
from pathlib import Path
from typing import Any

import onnx
import torch

from hubserve import __version__
from hubserve.error_messages import first_line
from hubserve.errors import ExportError
from hubserve.export.exportable_model import Classifier, ExportableModel
from hubserve.export.onnx_features import add_feature_output
from hubserve.export.quiet_exporters import quiet_exporters
from hubserve.package.example_arrays import BATCH_AXIS
from hubserve.package.onnx_runner import INPUT, OUTPUT
from hubserve.package.signature import ModelSignature

OPSET = 20


def export_onnx(source: ExportableModel, path: Path, *, opset: int = OPSET) -> None:
    """Writes a model as one ONNX file with a dynamic batch size, whose axis is named "batch", and its other named axes.

    The exporter's optimizer simplifies the graph: it folds constants, merges batch norms into convolutions, and removes
    operations that have no effect in inference, such as dropout.

    Its metadata are the text "exporter", and if `source.classifier` is given, "name", "labels" (a JSON array, in the order of
    the logits), "preprocess" (a JSON object, as in manifest.json) and "temperature" (only where there is one), so that the file
    is complete without its package.

    The file of an image classifier has the input "images" and the output "logits", and a second one, "features", where a linear
    layer or a convolution computes the logits. Inputs and outputs of any other model have the names of its signature.

    Args:
        source: Model to export.
        path: File to write; the weights are stored inside it.
        opset: Version of the ONNX operator set.

    Raises:
        ExportError: torch.export cannot capture the model; or the exporter failed or its file is not valid, and nothing is left
            at `path`.
    """
    program, signature = source.program, source.signature
    inputs = [INPUT] if signature is None else [entry.name for entry in signature.inputs]
    outputs = [OUTPUT] if signature is None else [entry.name for entry in signature.outputs]
    try:
        with quiet_exporters():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                input_names=inputs,
                output_names=outputs,
                opset_version=opset,
                optimize=True,
                external_data=False,
                verbose=False,
            )
            if exported is None:
                raise ExportError("the exporter of torch returned nothing")
            exported.rename_axes(_axis_names(exported, signature))
            exported.model.producer_name, exported.model.producer_version = "hubserve", __version__
            exported.model.metadata_props.update(_metadata(source.classifier))
            if source.feature_width is not None:
                add_feature_output(exported.model.graph, source.feature_width)
            exported.save(str(path), external_data=False)
        onnx.checker.check_model(str(path))
    except Exception as error:  # The exporter and the checker raise exceptions without a common base.
        path.unlink(missing_ok=True)
        raise ExportError(f"{source.name} becomes no ONNX file: {type(error).__name__}: {first_line(error)}") from error


def _metadata(classifier: Classifier | None) -> dict[str, str]:
    found = {"exporter": f"torch {torch.__version__}"}
    if classifier is not None:
        found["name"] = classifier.name
        found["labels"] = json.dumps(list(classifier.labels), ensure_ascii=False)
        found["preprocess"] = classifier.preprocess.model_dump_json()
        if classifier.temperature is not None:
            found["temperature"] = repr(float(classifier.temperature))
    return found


def _batch_axis(exported: torch.onnx.ONNXProgram) -> str:
    """Returns the name, such as "s77", that the exporter gave to the first axis of the first input, the axis of the batch.

    Raises ExportError if it fixed the length of that axis, or the input has no shape.
    """
    shape = exported.model.graph.inputs[0].shape
    if shape is None or isinstance(shape[0], int):
        raise ExportError("the exporter of torch fixed the number of images")
    return str(shape[0])


def _axis_names(exported: torch.onnx.ONNXProgram, signature: ModelSignature | None) -> dict[Any, str]:
    """Returns the names of the signature by those that the exporter gave to the dynamic axes of inputs and outputs.

    An axis whose length the exporter wrote as an expression, such as "2*s77", is left out.

    Args:
        exported: What the exporter returned.
        signature: Inputs and outputs; None means an image classifier, of which only the axis of the batch has a name.

    Raises:
        ExportError: The exporter fixed the length of an axis that has a name and several allowed lengths; or, of an image
            classifier, the input has no shape.
    """
    if signature is None:
        return {_batch_axis(exported): BATCH_AXIS}
    names: dict[Any, str] = {}
    graph = exported.model.graph
    limits = {BATCH_AXIS: (1, None), **signature.axes}
    for value, entry in zip((*graph.inputs, *graph.outputs), (*signature.inputs, *signature.outputs), strict=True):
        for axis, length in zip(entry.shape, value.shape or (), strict=False):
            smallest, largest = limits.get(str(axis), (1, None))
            if isinstance(axis, str) and isinstance(length, int) and smallest != largest:
                raise ExportError(f"the exporter of torch fixed the axis {axis!r} of {entry.name} to {length}")
            if isinstance(axis, str) and not isinstance(length, int) and str(length).isidentifier():
                names.setdefault(str(length), axis)
    return names
