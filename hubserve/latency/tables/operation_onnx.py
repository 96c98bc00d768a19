"""One operation as an ONNX file of its own, and its time inside ONNX Runtime."""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from hubserve.errors import ProfileError
from hubserve.export.onnx import OPSET
from hubserve.operations import Operation, Shape
from hubserve.package.onnx_runner import session_options

LAYOUT = frozenset({"ReorderInput", "ReorderOutput"})
"""Steps that ONNX Runtime puts around a lone convolution; inside a network they stand at its ends only."""
IR_VERSION = 10


def measure_unit(unit: Operation, *, threads: int, calls: int = 30, most_seconds: float = 0.25) -> list[float]:
    """Milliseconds that ONNX Runtime's own profiler counts for the unit, one for each call, warm.

    Raises:
        ProfileError: there is no ONNX for this kind, or ONNX Runtime refuses it.
    """
    try:
        model = _model(unit)
        with tempfile.TemporaryDirectory(prefix="hubserve.") as folder:
            return _node_times(model, unit, Path(folder), threads, calls, most_seconds)
    except ProfileError:
        raise
    except Exception as error:  # onnx and ONNX Runtime have their own exceptions, without a common base.
        raise ProfileError(f"ONNX Runtime does not run {unit.key}: {error}") from error


def _node_times(model: ModelProto, unit: Operation, folder: Path, threads: int, calls: int, seconds: float) -> list[float]:
    options = session_options(threads)
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "unit")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feed = {f"x{i}": rng.standard_normal(shape, np.float32) for i, shape in enumerate(unit.inputs)}
    warm_up = 5
    first = _timed(session, feed, warm_up)
    n = max(5, min(calls, int(seconds / max(first, 1e-6))))
    _timed(session, feed, n)
    events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    by_node: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time") and event["args"]["op_name"] not in LAYOUT:
            by_node[event["name"]].append(event["dur"] / 1e3)
    return [sum(times) for times in zip(*(times[warm_up:] for times in by_node.values()), strict=True)]


def _timed(session: onnxruntime.InferenceSession, feed: dict[str, np.ndarray], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        session.run(None, feed)
    return (time.perf_counter() - start) / calls


def _model(unit: Operation) -> ModelProto:
    if unit.kind not in NODES:
        raise ProfileError(f"there is no ONNX for {unit.kind!r}, of {unit.key}")
    nodes, constants = NODES[unit.kind](unit)
    inputs = [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, shape) for i, shape in enumerate(unit.inputs)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "unit", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


Parts = tuple[list[NodeProto], dict[str, np.ndarray]]


def _conv(unit: Operation) -> Parts:
    groups, kernel, padding = int(unit.attribute("groups")), unit.attribute("kernel"), unit.attribute("padding")
    c_in, c_out = unit.inputs[0][1], unit.output[1]
    attributes: dict[str, Any] = {
        "kernel_shape": list(kernel),
        "strides": list(unit.attribute("stride")),
        "pads": [*padding, *padding],
        "dilations": list(unit.attribute("dilation")),
        "group": groups,
    }
    node = helper.make_node("Conv", ["x0", "w", "b"], ["y"], **attributes)
    return [node], {"w": _random((c_out, c_in // groups, *kernel)), "b": _random((c_out,))}


def _linear(unit: Operation) -> Parts:
    weights = {"w": _random((unit.inputs[0][-1], unit.output[-1])), "b": _random((unit.output[-1],))}
    return [helper.make_node("Gemm", ["x0", "w", "b"], ["y"])], weights


def _pool(operation: str) -> Callable[[Operation], Parts]:
    def nodes(unit: Operation) -> Parts:
        padding = unit.attribute("padding")
        attributes: dict[str, Any] = {"kernel_shape": list(unit.attribute("kernel")), "strides": list(unit.attribute("stride"))}
        return [helper.make_node(operation, ["x0"], ["y"], pads=[*padding, *padding], **attributes)], {}

    return nodes


def _simple(operation: str, **attributes: Any) -> Callable[[Operation], Parts]:
    return lambda unit: ([helper.make_node(operation, [f"x{i}" for i in range(len(unit.inputs))], ["y"], **attributes)], {})


def _binary(operation: str) -> Callable[[Operation], Parts]:
    def nodes(unit: Operation) -> Parts:
        if len(unit.inputs) == 2:
            return _simple(operation)(unit)
        return [helper.make_node(operation, ["x0", "c"], ["y"])], {"c": np.array([0.5], np.float32)}

    return nodes


def _silu(_: Operation) -> Parts:
    return [helper.make_node("Sigmoid", ["x0"], ["s"]), helper.make_node("Mul", ["x0", "s"], ["y"])], {}


def _mean(unit: Operation) -> Parts:
    axes = [2, 3] if len(unit.inputs[0]) == 4 else [1]
    return [helper.make_node("ReduceMean", ["x0", "axes"], ["y"])], {"axes": np.array(axes, np.int64)}


def _layer_norm(unit: Operation) -> Parts:
    width = unit.inputs[0][-1]
    return [helper.make_node("LayerNormalization", ["x0", "s", "b"], ["y"])], {"s": _random((width,)), "b": _random((width,))}


def _batch_norm(unit: Operation) -> Parts:
    channels = (unit.inputs[0][1],)
    constants = {name: np.abs(_random(channels)) + 0.5 for name in ("s", "b", "m", "v")}
    return [helper.make_node("BatchNormalization", ["x0", "s", "b", "m", "v"], ["y"])], constants


def _clip(_: Operation) -> Parts:
    return [helper.make_node("Clip", ["x0", "low", "high"], ["y"])], {
        "low": np.array(0, np.float32),
        "high": np.array(6, np.float32),
    }


def _concat(unit: Operation) -> Parts:
    return _simple("Concat", axis=int(unit.attribute("axis")))(unit)


def _move(unit: Operation) -> Parts:
    """A copy in another order; which one matters less than that every number is read and written."""
    shape = unit.inputs[0]
    flat = np.array([prod(shape) // shape[-1], shape[-1]], np.int64)
    nodes = [helper.make_node("Reshape", ["x0", "flat"], ["f"]), helper.make_node("Transpose", ["f"], ["y"], perm=[1, 0])]
    return nodes, {"flat": flat}


def _random(shape: Shape) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


NODES: dict[str, Callable[[Operation], Parts]] = {
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
    "move": _move,
}
"""Kind -> its nodes and constants."""
