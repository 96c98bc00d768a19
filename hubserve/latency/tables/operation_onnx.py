"""Measures the time of a single operation: builds an ONNX graph of it and runs that with ONNX Runtime's profiler."""

import time
from collections import defaultdict
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from hubserve.errors import ProfileError
from hubserve.export.onnx import OPSET
from hubserve.latency.operator_times import kernel_events
from hubserve.operations import Operation, Shape

LAYOUT = frozenset({"ReorderInput", "ReorderOutput"})
"""Operators that ONNX Runtime adds before and after a single convolution; in a network they are needed only at its ends."""
IR_VERSION = 10


def time_operation(operation: Operation, *, threads: int, calls: int = 30, most_seconds: float = 0.25) -> list[float]:
    """Measures an operation on the CPU and returns the time of each call in milliseconds, after a warm-up.

    The times are those that ONNX Runtime's profiler reports for the operation itself, without the overhead of the call.

    Args:
        operation: Operation to measure.
        threads: Number of threads that a call may use.
        calls: Largest number of calls, and so of returned times; below 5 it counts as 5.
        most_seconds: Time in seconds that the calls may take together; if `calls` calls would take longer, fewer are made, but
            at least 5.

    Raises:
        ProfileError: There is no ONNX graph for this kind of operation, or ONNX Runtime cannot run it.
    """
    try:
        model = _model(operation).SerializeToString()
        return _node_times(model, operation, threads, calls, most_seconds)
    except ProfileError:
        raise
    except Exception as error:  # onnx and ONNX Runtime have their own exceptions, without a common base.
        raise ProfileError(f"ONNX Runtime does not run {operation.key}: {error}") from error


def _node_times(model: bytes, operation: Operation, threads: int, calls: int, seconds: float) -> list[float]:
    rng = np.random.default_rng(0)
    feed = {f"x{i}": rng.standard_normal(shape, np.float32) for i, shape in enumerate(operation.inputs)}
    warm_up = 5

    def call(session: onnxruntime.InferenceSession) -> None:
        first = _call(session, feed, warm_up)
        _call(session, feed, max(5, min(calls, int(seconds / max(first, 1e-6)))))

    by_node: dict[str, list[float]] = defaultdict(list)
    for event in kernel_events(model, call, threads=threads):
        if event["args"]["op_name"] not in LAYOUT:
            by_node[event["name"]].append(event["dur"] / 1e3)
    return [sum(times) for times in zip(*(times[warm_up:] for times in by_node.values()), strict=True)]


def _call(session: onnxruntime.InferenceSession, feed: dict[str, np.ndarray], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        session.run(None, feed)
    return (time.perf_counter() - start) / calls


def _model(operation: Operation) -> ModelProto:
    if operation.kind not in NODES:
        raise ProfileError(f"there is no ONNX for {operation.kind!r}, of {operation.key}")
    nodes, constants = NODES[operation.kind](operation)
    inputs = [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, shape) for i, shape in enumerate(operation.inputs)]
    kind = TensorProto.BOOL if operation.kind in COMPARISONS else TensorProto.FLOAT
    outputs = [helper.make_tensor_value_info("y", kind, None)]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "operation", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


Graph = tuple[list[NodeProto], dict[str, np.ndarray]]
"""Pair of the nodes of an ONNX graph and its constants by name. Inputs are called x0, x1, ..., and the output is y."""


def _conv(operation: Operation) -> Graph:
    groups, dilations = int(operation.attribute("groups")), list(operation.attribute("dilation"))
    c_in, c_out = operation.inputs[0][1], operation.output[1]
    node = helper.make_node("Conv", ["x0", "w", "b"], ["y"], group=groups, dilations=dilations, **_window(operation))
    return [node], {"w": _random((c_out, c_in // groups, *operation.attribute("kernel"))), "b": _random((c_out,))}


def _window(operation: Operation) -> dict[str, Any]:
    """Returns the attributes that the ONNX nodes of a convolution and of a pooling have in common."""
    kernel, stride, padding = (list(operation.attribute(name)) for name in ("kernel", "stride", "padding"))
    return {"kernel_shape": kernel, "strides": stride, "pads": padding * 2}


def _linear(operation: Operation) -> Graph:
    weights = {"w": _random((operation.inputs[0][-1], operation.output[-1])), "b": _random((operation.output[-1],))}
    return [helper.make_node("Gemm", ["x0", "w", "b"], ["y"])], weights


def _pool(operator: str) -> Callable[[Operation], Graph]:
    return lambda operation: ([helper.make_node(operator, ["x0"], ["y"], **_window(operation))], {})


def _simple(operator: str, **attributes: Any) -> Callable[[Operation], Graph]:
    return lambda operation: (
        [helper.make_node(operator, [f"x{i}" for i in range(len(operation.inputs))], ["y"], **attributes)],
        {},
    )


def _binary(operator: str) -> Callable[[Operation], Graph]:
    def nodes(operation: Operation) -> Graph:
        if len(operation.inputs) == 2:
            return _simple(operator)(operation)
        return [helper.make_node(operator, ["x0", "c"], ["y"])], {"c": np.array([0.5], np.float32)}

    return nodes


def _silu(_: Operation) -> Graph:
    return [helper.make_node("Sigmoid", ["x0"], ["s"]), helper.make_node("Mul", ["x0", "s"], ["y"])], {}


def _mean(operation: Operation) -> Graph:
    axes = [2, 3] if len(operation.inputs[0]) == 4 else [1]
    return [helper.make_node("ReduceMean", ["x0", "axes"], ["y"])], {"axes": np.array(axes, np.int64)}


def _layer_norm(operation: Operation) -> Graph:
    width = operation.inputs[0][-1]
    return [helper.make_node("LayerNormalization", ["x0", "s", "b"], ["y"])], {"s": _random((width,)), "b": _random((width,))}


def _batch_norm(operation: Operation) -> Graph:
    channels = (operation.inputs[0][1],)
    constants = {name: np.abs(_random(channels)) + 0.5 for name in ("s", "b", "m", "v")}
    return [helper.make_node("BatchNormalization", ["x0", "s", "b", "m", "v"], ["y"])], constants


def _clip(_: Operation) -> Graph:
    limits = {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    return [helper.make_node("Clip", ["x0", "low", "high"], ["y"])], limits


def _concat(operation: Operation) -> Graph:
    return _simple("Concat", axis=int(operation.attribute("axis")))(operation)


def _choose(operation: Operation) -> Graph:
    """Returns a graph that takes each element from one of two tensors, or a tensor or a constant, by a random, fixed mask."""
    if operation.kind == "other:masked_fill":
        mask, sources, constants = operation.inputs[1], ["c", "x0"], {"c": np.array(-1.0, np.float32)}
    else:
        mask, sources, constants = operation.inputs[0], [f"x{i}" for i in range(1, len(operation.inputs))], {}
    if len(sources) < 2:
        sources, constants = [*sources, "c"], {"c": np.array(0.0, np.float32)}
    return [helper.make_node("Where", ["m", *sources], ["y"])], {"m": _random(mask) > 0, **constants}


def _running_sum(_: Operation) -> Graph:
    return [helper.make_node("CumSum", ["x0", "axis"], ["y"])], {"axis": np.array(-1, np.int64)}


def _layout_change(operation: Operation) -> Graph:
    """Returns a graph that copies a tensor in another order, by a transpose.

    It stands for every operation of the kind "move": its time depends more on the number of elements than on their order.
    """
    shape = operation.inputs[0]
    flat = np.array([prod(shape) // shape[-1], shape[-1]], np.int64)
    nodes = [helper.make_node("Reshape", ["x0", "flat"], ["f"]), helper.make_node("Transpose", ["f"], ["y"], perm=[1, 0])]
    return nodes, {"flat": flat}


def _random(shape: Shape) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


ELEMENTWISE = {
    "abs": "Abs",
    "bitwise_not": "Neg",  # Of as many elements: the operation reads booleans, and here all inputs are numbers.
    "ceil": "Ceil",
    "cos": "Cos",
    "elu": "Elu",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "leaky_relu": "LeakyRelu",
    "log": "Log",
    "logical_not": "Neg",
    "mish": "Mish",
    "neg": "Neg",
    "ones_like": "Abs",  # Stands for writing as many elements.
    "reciprocal": "Reciprocal",
    "round": "Round",
    "sin": "Sin",
    "softplus": "Softplus",
    "sqrt": "Sqrt",
    "tanh": "Tanh",
}
"""Name of an element-wise operator of torch with one input -> operator of ONNX."""

COMPARISONS = {
    "other:eq": "Equal",
    "other:ge": "GreaterOrEqual",
    "other:gt": "Greater",
    "other:le": "LessOrEqual",
    "other:lt": "Less",
    "other:ne": "Equal",  # ONNX has no operator for it, and inverts the result.
}
"""Kinds of operations with boolean results -> operator of ONNX."""

NODES: dict[str, Callable[[Operation], Graph]] = {
    "conv": _conv,
    "linear": _linear,
    "matmul": _simple("MatMul"),
    "max_pool": _pool("MaxPool"),
    "avg_pool": _pool("AveragePool"),
    "relu": _simple("Relu"),
    "clip": _clip,
    "hardswish": _simple("HardSwish"),
    "silu": _silu,
    "sigmoid": _simple("Sigmoid"),
    "hardsigmoid": _simple("HardSigmoid", alpha=1 / 6),
    "gelu": _simple("Gelu"),
    "softmax": _simple("Softmax"),
    "layer_norm": _layer_norm,
    "batch_norm": _batch_norm,
    "mean": _mean,
    "add": _binary("Add"),
    "mul": _binary("Mul"),
    "concat": _concat,
    "move": _layout_change,
    "other:cumsum": _running_sum,
    "other:masked_fill": _choose,
    "other:where": _choose,
    **{f"other:{name}": _simple(operator) for name, operator in ELEMENTWISE.items()},
    **{kind: _binary(operator) for kind, operator in COMPARISONS.items()},
}
"""Kind of an operation -> function that returns the graph of such an operation."""
