"""Files that are written to be measured run as those that are published do."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from hubserve.errors import ExportError
from hubserve.export.exportable_model import ExportableModel
from hubserve.export.onnx import export_onnx
from hubserve.export.onnx_for_timing import export_onnx_for_timing
from tests.marks import slow_but
from tests.supernet.spaces import TINY, images

POOLING = {"GlobalAveragePool", "ReduceMean", "Flatten", "Reshape"}
"""Operators of the last pooling, in which the two exporters differ."""

LAST_LAYER = {"Gemm": "MatMul"}
"""Operators that compute the same: of a linear layer after one exporter and after the other."""


def optimized(file, tmp_path):
    """The session of a file, and how often its graph has each operator after ONNX Runtime optimized it."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4  # The file fits this machine alone, of which it warns.
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(tmp_path / "optimized.onnx").graph.node
    names = (LAST_LAYER.get(node.op_type, node.op_type) for node in nodes)
    return session, Counter(name for name in names if name not in POOLING and not name.startswith("Reorder"))


@pytest.mark.parametrize("name", slow_but(TINY, {"MobileNetV3Space", "AmoebaNet"}))
def test_the_graph_is_that_of_the_published_file(name, tmp_path):
    space = TINY[name]
    model = ExportableModel(space.freeze(space.random(Random(0))), images(2))
    export_onnx(model, tmp_path / "published.onnx")
    export_onnx_for_timing(model, tmp_path / "timed.onnx")
    published, its_nodes = optimized(tmp_path / "published.onnx", tmp_path)
    timed, nodes = optimized(tmp_path / "timed.onnx", tmp_path)
    assert nodes == its_nodes
    x = {"images": images(3).numpy()}
    assert np.allclose(timed.run(["logits"], x)[0], published.run(["logits"], x)[0], atol=1e-4)


class Refusing(nn.Module):
    """A network that cannot be traced, and one that nothing can export."""

    def __init__(self, *, always=False):
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 1)
        self.always = always

    def forward(self, x):
        if torch.jit.is_tracing() or self.always:
            raise RuntimeError("not like this")
        return self.layer(x).mean((2, 3))


def test_what_the_older_exporter_refuses_is_written_by_the_newer_one(tmp_path):
    export_onnx_for_timing(ExportableModel(Refusing(), images(2)), tmp_path / "timed.onnx")
    assert onnx.load(tmp_path / "timed.onnx").producer_name == "hubserve"


def test_a_network_that_cannot_be_exported_leaves_no_file(tmp_path):
    with pytest.raises(ExportError, match="Refusing"):
        export_onnx_for_timing(ExportableModel(Refusing(always=True), images(2)), tmp_path / "timed.onnx")
    assert not list(tmp_path.iterdir())
