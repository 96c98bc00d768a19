"""What a network must be so that its formats are written: alone as in a batch, finite, with weights that may be tied."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hubserve.errors import ExportError
from hubserve.export.exportable_model import Classifier
from hubserve.export.model_source import ModelSource
from hubserve.export.parity_proof import write_proven
from hubserve.export.write_package import write_package
from hubserve.package.manifest import Provenance
from hubserve.preprocess import Preprocess
from tests.export.nets import small_source
from tests.export.test_write_weights import Tied

PREPROCESS = Preprocess(input_size=32, resize=32)


class Net(nn.Module):
    """Four features and three logits, with a layer between."""

    def __init__(self, between: nn.Module):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.between, self.head = nn.Conv2d(3, 4, 3), between, nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.between(self.stem(x)).mean((2, 3)))


class OverTheBatch(nn.Module):
    def forward(self, x):
        return x * x.softmax(0)


class Infinite(nn.Module):
    def forward(self, x):
        return x / (x - x)


def prove(model, folder, **options):
    return write_proven(model, Classifier("net", PREPROCESS, ("a", "b", "c")), folder, formats=("torchscript",), **options)


@pytest.mark.parametrize("between", [nn.BatchNorm2d(4, track_running_stats=False), OverTheBatch()], ids=["norm", "softmax"])
def test_answers_that_depend_on_neighbours(between, tmp_path):
    with pytest.raises(ExportError, match="eager answers an image otherwise alone than in a batch of others"):
        prove(Net(between), tmp_path)
    assert not list(tmp_path.iterdir())


def test_logits_that_are_not_finite(tmp_path):
    with pytest.raises(ExportError, match=r"^Net cannot be exported: the model's answer is not finite"):
        prove(Net(Infinite()), tmp_path)


def test_the_report_says_how_far_an_image_alone_is(tmp_path):
    (report,) = prove(Net(nn.BatchNorm2d(4)), tmp_path).reports
    assert 0 <= report.alone_error < 1e-4 * report.scale


def test_tied_weights_in_every_format(tmp_path):
    source = ModelSource("tied", Tied(), "Mine", {}, {}, PREPROCESS, ("a", "b", "c"), Provenance())
    package = write_package(source, tmp_path / "package", formats=("onnx", "torchscript", "pt2"))
    assert load_file(package.path / "weights.safetensors").keys() == source.model.state_dict().keys()


def test_the_axis_of_the_batch_has_a_name_and_the_file_says_what_it_is(tmp_path):
    source = replace(small_source(), temperature=1.5)
    images = [np.random.default_rng(i).standard_normal((8, 3, 32, 32)).astype(np.float32) for i in range(2)]
    package = write_package(source, tmp_path / "p", formats=("onnx", "onnx-fp16", "onnx-int8"), images=images)
    for file in ("model.onnx", "model.fp16.onnx", "model.int8.onnx"):
        model = onnx.load(package.path / file)
        texts, graph = {entry.key: entry.value for entry in model.metadata_props}, model.graph
        assert texts["name"] == "small"
        assert json.loads(texts["labels"]) == list(source.labels)
        assert Preprocess.model_validate_json(texts["preprocess"]) == source.preprocess
        assert float(texts["temperature"]) == 1.5
        for value in (*graph.input, *graph.output):
            assert value.type.tensor_type.shape.dim[0].dim_param == "batch", (file, value.name)
        names = {dim.dim_param for value in graph.value_info for dim in value.type.tensor_type.shape.dim}
        assert not [name for name in names if name.startswith("s") and name[1:].isdigit()], file
