"""Sessions of ONNX Runtime: products of bytes are added up exactly on every CPU."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from hubserve.package.onnx_runner import session_options

INNER, OUTPUTS = 64, 8


def byte_products(weights: np.ndarray) -> bytes:
    """Returns an ONNX file that multiplies bytes (n, INNER) with `weights` (INNER, OUTPUTS) int8, and divides by 2**14."""
    constants = {
        "one": np.float32(1),
        "zero": np.uint8(0),
        "weights": weights,
        "weights_zero": np.int8(0),
        "step": np.float32(2**14),
        "middle": np.uint8(128),
    }
    node = helper.make_node(
        "QLinearMatMul", ["x", "one", "zero", "weights", "one", "weights_zero", "step", "middle"], ["y"], name="product"
    )
    graph = helper.make_graph(
        [node],
        "byte_products",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["n", INNER])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, ["n", OUTPUTS])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9).SerializeToString()


@pytest.mark.parametrize("weight", [127, -128, 64, -65])
def test_sums_of_products_of_bytes_do_not_saturate(weight):
    """Two products of 255 and 127 are more than 16 bits hold, in which x86 CPUs without VNNI add up pairs by default."""
    weights = np.full((INNER, OUTPUTS), weight, np.int8)
    weights[::2] //= 2
    x = np.random.default_rng(0).integers(180, 256, (5, INNER), np.uint8)
    session = onnxruntime.InferenceSession(byte_products(weights), session_options(1), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x})
    exact = np.rint(x.astype(np.int64) @ weights.astype(np.int64) / 2**14) + 128
    np.testing.assert_array_equal(found, exact)


def test_the_option_is_set_on_every_cpu():
    """Where there is VNNI the sums are exact without it, and the test above cannot fail."""
    assert session_options(1).get_session_config_entry("session.x64quantprecision") == "1"


def test_the_files_of_the_sums_are_valid():
    onnx.checker.check_model(byte_products(np.ones((INNER, OUTPUTS), np.int8)))
