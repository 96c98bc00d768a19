"""Small ONNX files that take for ever, or a lot of memory; and packages that hold them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hubserve.package.file_hashes import file_entry
from hubserve.package.package import MANIFEST
from tests.stores import small_package

CLASSES = 7


def _model(nodes: Sequence[onnx.NodeProto], **constants) -> onnx.ModelProto:
    """A classifier by the mean of each colour, with further nodes from "y" to "logits"."""
    first = [
        helper.make_node("GlobalAveragePool", ["images"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    constants = {"w": np.eye(3, CLASSES, dtype=np.float32), **constants}
    graph = helper.make_graph(
        [*first, *nodes],
        "graph",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, None, None])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _loop() -> onnx.NodeProto:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Add", ["x", "one"], ["more"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("more", TensorProto.FLOAT, None),
        ],
        [numpy_helper.from_array(np.float32(1), "one")],
    )
    return helper.make_node("Loop", ["rounds", "true", "y"], ["logits"], body=body)


def loop() -> onnx.ModelProto:
    """2^62 rounds for every image."""
    return _model([_loop()], rounds=np.int64(2**62), true=np.bool_(True))


def loop_for_white() -> onnx.ModelProto:
    """2^62 rounds for an image with a white pixel, and one for all others."""
    nodes = [
        helper.make_node("ReduceMax", ["images"], ["brightest"], keepdims=0),
        helper.make_node("Greater", ["brightest", "limit"], ["white"]),
        helper.make_node("Where", ["white", "huge", "few"], ["rounds"]),
        _loop(),
    ]
    return _model(nodes, limit=np.float32(1.5), huge=np.int64(2**62), few=np.int64(1), true=np.bool_(True))


def _constant(side_lengths: Sequence[int]) -> tuple[onnx.NodeProto, np.ndarray]:
    ones = helper.make_tensor("value", TensorProto.FLOAT, [1], [1.0])
    return helper.make_node("ConstantOfShape", ["shape"], ["a0"], value=ones), np.array(side_lengths, np.int64)


def _add_sum(name: str) -> list[onnx.NodeProto]:
    return [helper.make_node("ReduceSum", [name], ["s"], keepdims=0), helper.make_node("Add", ["y", "s"], ["logits"])]


def large(gib: int) -> onnx.ModelProto:
    """A tensor of some GiB, in 400 bytes."""
    node, shape = _constant([gib * 2**28])
    return _model([node, *_add_sum("a0")], shape=shape)


def large_map(gib: int) -> onnx.ModelProto:
    """An intermediate tensor of some GiB for one image of 32 x 32 pixels, computed from the image: no constant is folded."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["g"]),
        helper.make_node("ReduceSum", ["g"], ["one_number"], keepdims=0),
        helper.make_node("Expand", ["one_number", "shape"], ["a0"]),
        helper.make_node("Exp", ["a0"], ["a1"]),
    ]
    return _model([*nodes, *_add_sum("a1")], shape=np.array([gib * 2**28], np.int64))


def folded() -> onnx.ModelProto:
    """1,000 products of constant matrices, which are computed while the file is loaded: for hours."""
    node, shape = _constant([3000, 3000])
    products = [helper.make_node("MatMul", [f"a{i}", "a0"], [f"a{i + 1}"]) for i in range(1000)]
    return _model([node, *products, *_add_sum("a1000")], shape=shape)


def package_with(model: onnx.ModelProto, folder: Path) -> Path:
    """A package with this network, which says that it has passed all checks."""
    shutil.copytree(small_package().path, folder)
    onnx.save(model, folder / "model.onnx")
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["outputs"] = manifest["outputs"][: len(model.graph.output)]
    manifest["files"]["model.onnx"] = file_entry(folder / "model.onnx").model_dump()
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder
