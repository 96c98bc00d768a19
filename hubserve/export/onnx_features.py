"""Adds the output "features" to an ONNX graph: the input of the layer that computes the logits."""

from typing import Any

import onnx_ir as ir

from hubserve.package.onnx_runner import FEATURES

LAYERS = frozenset({"Gemm", "MatMul", "Conv"})
"""Operators of linear layers and convolutions."""


def add_feature_output(graph: ir.Graph, width: int) -> bool:
    """Adds the output "features", (batch, width) float32, to a graph whose first output is the logits.

    No operation is added where the features are a tensor of the graph already; the input of a convolution is flattened.

    Args:
        graph: Graph to change.
        width: Number of features.

    Returns:
        Whether it was added; it is not where no single linear layer or convolution computes the logits, or the shape of its
        input is not known.
    """
    found = _features(graph.outputs[0])
    if found is None or found.shape is None:
        return False
    batch = graph.inputs[0].shape[0] if graph.inputs[0].shape is not None else "batch"
    if len(found.shape) != 2 or found.producer() is None:
        node = ir.node("Flatten", [found], attributes={"axis": 1})
        graph.append(node)
        graph.sort()
        found = node.outputs[0]
    found.name = FEATURES
    found.type = ir.TensorType(ir.DataType.FLOAT)
    found.shape = ir.Shape([batch, width])
    graph.outputs.append(found)
    return True


def _features(logits: Any) -> Any:
    """Returns the input of the last linear layer or convolution before `logits`; None where there is no single one."""
    value = logits
    while (node := value.producer()) is not None:
        computed = [given for given in node.inputs if given is not None and not _is_constant(given)]
        if len(computed) != 1:
            return None
        if node.op_type in LAYERS:
            return computed[0]
        value = computed[0]
    return None


def _is_constant(value: Any) -> bool:
    return value.const_value is not None or value.is_initializer()
