"""The output "features" of ONNX files: that of every network that has one, proven like the logits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hubserve.errors import ExportError, ParityError
from hubserve.export import onnx as export_module
from hubserve.export import onnx_features as export_features
from hubserve.export.eager_runner import EagerRunner
from hubserve.export.exportable_model import Classifier, ExportableModel
from hubserve.export.onnx import export_onnx
from hubserve.export.parity_proof import write_proven
from hubserve.export.write_package import write_package
from hubserve.package.onnx_runner import OnnxRunner
from hubserve.package.package import read_package
from hubserve.package.parity import check_features, random_batches
from hubserve.preprocess import Preprocess
from tests.export.nets import small_source
from tests.stores import small_package

BATCHES = random_batches((3, 8, 8), sizes=(1, 2, 5))


class TwoSums(nn.Module):
    """Its logits are the sum of two layers' outputs, so neither input is all that the logits depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(192, 4), nn.Linear(3, 4)

    def forward(self, images):
        return self.one(images.flatten(1)) + self.other(images.mean((2, 3)))


class Scaled(nn.Module):
    """A linear layer without bias, on tokens, with what keeps the shape behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(64, 6), nn.Linear(6, 4, bias=False)

    def forward(self, images):
        return self.head(self.body(images.flatten(2)).mean(1)) * 2 + 1


def tiny_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4))


TINY = Preprocess(input_size=8, resize=8)
FOUR = Classifier("tiny", TINY, ("a", "b", "c", "d"))
"""Preprocessing of the images of `tiny_network`."""

NETWORKS = {
    "linear": (tiny_network, 5),
    "convolution": (lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 4, 1), nn.Flatten()), 6),
    "only layer": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), 192),
    "scaled": (Scaled, 6),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_those_of_eager_pytorch(name, tmp_path):
    build, width = NETWORKS[name]
    model = build()
    export_onnx(ExportableModel(model, torch.from_numpy(BATCHES[1])), tmp_path / "model.onnx")
    eager, onnx = EagerRunner(model), OnnxRunner(tmp_path / "model.onnx", device="cpu")
    assert onnx.has_features
    assert onnx.with_features(BATCHES[2])[1].shape == (5, width)
    check_features(eager, onnx, BATCHES)
    for batch in BATCHES:
        logits, features = onnx.with_features(batch)
        np.testing.assert_allclose(logits, onnx(batch), rtol=1e-6)
        np.testing.assert_allclose(features, eager.with_features(batch)[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", [TwoSums(), nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())])
def test_a_network_without_features_has_logits_alone(model, tmp_path):
    export_onnx(ExportableModel(model, torch.from_numpy(BATCHES[1])), tmp_path / "model.onnx")
    onnx = OnnxRunner(tmp_path / "model.onnx", device="cpu")
    assert onnx(BATCHES[2]).shape == (5, 4)
    assert not onnx.has_features
    with pytest.raises(ExportError, match="onnx has no output 'features'; export the model again"):
        onnx.with_features(BATCHES[2])


def test_eager_pytorch_without_features():
    with pytest.raises(ExportError, match="the logits of Flatten come from neither a linear layer nor a convolution"):
        EagerRunner(nn.Flatten()).with_features(BATCHES[0])


def test_the_manifest_describes_it_and_the_proof_covers_it():
    package = small_package()
    logits, features = package.manifest.outputs
    assert (logits.name, logits.meaning, logits.shape) == ("logits", "logits", ("batch", 7))
    assert package.manifest.features == features
    assert (features.name, features.dtype, features.shape) == ("features", "float32", ("batch", 32))
    by_format = {report.format: report.features for report in package.parity}
    assert by_format["onnx"].rms_error <= 1e-4 * by_format["onnx"].scale
    assert (by_format["torchscript"], by_format["pt2"]) == (None, None)
    stored = json.loads((package.path / "parity.json").read_text())
    assert stored[0]["features"]["rms_tolerance"] == 1e-4


def test_without_a_format_in_onnx_there_is_none(tmp_path):
    package = write_package(small_source(), tmp_path / "p", formats=("torchscript",))
    assert [output.name for output in package.manifest.outputs] == ["logits"]
    assert package.manifest.features is None


def test_half_and_quantised_files_have_it_too(tmp_path):
    images = random_batches((3, 8, 8), sizes=(8, 8, 8, 8))
    proven = write_proven(tiny_network(), FOUR, tmp_path, formats=("onnx-fp16", "onnx-int8"), images=images)
    assert proven.feature_width == 5
    half, quantised = (report.features for report in proven.reports)
    assert 0 < half.rms_error <= 1e-2 * half.scale
    assert quantised.rms_tolerance is None
    assert quantised.rms_error < quantised.scale / 4


def test_openvino_gives_the_same():
    pytest.importorskip("openvino")
    batch = random_batches((3, 32, 32), sizes=(3,))[0]
    openvino, onnx = (small_package().runner(name) for name in ("openvino", "onnx"))
    for ours, theirs in zip(openvino.with_features(batch), onnx.with_features(batch), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_wrong_features_are_not_proven(tmp_path, monkeypatch):
    def wrong(graph, width):
        """Twice the features, by their name."""
        assert real(graph, width)
        node = graph.outputs[1].producer()
        graph.outputs[1].name = "right"
        scaled = export_features.ir.node("Add", [graph.outputs[1], graph.outputs[1]])
        graph.insert_after(node, scaled)
        scaled.outputs[0].name, scaled.outputs[0].type = "features", graph.outputs[1].type
        scaled.outputs[0].shape = graph.outputs[1].shape
        graph.outputs[1] = scaled.outputs[0]
        return True

    real = export_features.add_feature_output
    monkeypatch.setattr(export_module, "add_feature_output", wrong)
    with pytest.raises(
        ParityError, match="the features of onnx differ from those of eager: root mean square of the differences"
    ):
        write_proven(tiny_network(), FOUR, tmp_path, formats=("onnx",))


def test_a_package_from_before_has_none():
    golden = read_package(Path(__file__).parent.parent / "golden" / "package")
    assert golden.manifest.features is None
    assert not golden.runner("onnx").has_features
