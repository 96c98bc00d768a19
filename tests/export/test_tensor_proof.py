"""Models of any inputs: written in every exact format, each held to eager PyTorch at other sizes and lengths."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from hubserve.errors import ExportError, OtherInputsError, PackageError, ParityError
from hubserve.export.model_source import package_source
from hubserve.export.tensor_proof import write_proven_tensors
from hubserve.export.triton_repository import write_triton
from hubserve.export.write_package import write_package
from hubserve.package.formats import TENSOR_FORMATS
from hubserve.package.manifest import InputEntry, OutputEntry
from hubserve.package.package import read_package
from hubserve.package.signature import ModelSignature
from tests.other_inputs import tagger_package, tagger_source

IDS = InputEntry(
    name="ids", dtype="int64", shape=("batch", "length"), prepared_by="none", lowest=0, highest=9, axes={"length": (1, 48)}
)
SUM = OutputEntry(name="sum", dtype="float32", shape=("batch", 3), meaning="other")


def test_each_format_is_proven_at_other_batch_sizes_and_lengths():
    package = tagger_package()
    assert [report.format for report in package.parity] == list(TENSOR_FORMATS) == ["onnx", "torchscript", "pt2"]
    for report in package.parity:
        sizes = list(zip(report.batches, [lengths["length"] for lengths in report.lengths], strict=True))
        assert sizes == [(1, 1), (2, 15), (4, 48), (3, 29)]  # The last one is that of the export.
        assert report.outputs.keys() == {"scores", "summary"}
        assert report.alone_error is not None


@pytest.mark.parametrize("name", TENSOR_FORMATS)
def test_a_package_runs_at_its_smallest_and_largest_length(name):
    package = read_package(tagger_package().path)
    package.verify()
    runner = package.tensor_runner(name)
    for rows, length in ((1, 1), (5, 64)):
        scores, summary = runner.run([np.ones((rows, length), np.int64)] * 2)
        assert scores.shape == (rows, length, 5)
        assert summary.shape == (rows, 8)


def test_it_has_neither_labels_nor_a_script_for_images():
    package = tagger_package()
    assert package.labels == ()
    assert package.manifest.classes == 0
    assert not {"labels.txt", "run_onnx.py"} & set(package.manifest.files)
    with pytest.raises(OtherInputsError, match=r"tagger is no image classifier: it takes ids \(int64: batch x length\), mask"):
        package.runner("onnx")
    with pytest.raises(ExportError, match="onnx-int8 runs image classifiers only; tagger runs in onnx, torchscript, pt2"):
        package.tensor_runner("onnx-int8")
    with pytest.raises(PackageError, match="has no onx; it has "):
        package.tensor_runner("onx")


def test_a_file_of_others_is_loaded_first_by_a_process_of_its_own(tmp_path, monkeypatch):
    folder = shutil.copytree(tagger_package().path, tmp_path / "copy")
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    package = read_package(folder)
    load = package.first_load("onnx")
    assert load is not None
    load.check()
    assert package.first_load("onnx") is None


def test_it_is_exported_again_from_its_package(tmp_path):
    package = write_package(package_source(tagger_package()), tmp_path / "again", formats=["torchscript"])
    assert package.manifest.inputs == tagger_package().manifest.inputs


def test_an_entry_of_triton_has_all_inputs_and_outputs(tmp_path):
    entry = write_triton(tagger_package(), tmp_path)
    text = (entry / "config.pbtxt").read_text()
    assert '{ name: "mask", data_type: TYPE_INT64, dims: [ -1 ] }' in text
    assert '{ name: "scores", data_type: TYPE_FP32, dims: [ -1, 5 ] }' in text
    assert not (entry / "labels.txt").exists()


@pytest.mark.parametrize("name", ["onnx-int8", "litert"])
def test_a_format_for_images_is_refused(name, tmp_path):
    with pytest.raises(ExportError, match=f"{name} is for image classifiers, and TaggerNetwork takes ids"):
        write_package(tagger_source(), tmp_path / "new", formats=[name])


class Network(nn.Module):
    """A network with one fault, which the export must find."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.fault = nn.Embedding(10, 3), fault

    def forward(self, ids):
        found = self.words(ids)
        match self.fault:
            case "length":  # A tracer keeps the number.
                return found.sum(1) / float(ids.shape[1])
            case "others":
                return found.sum(1) - found.mean()
            case "dict":
                return {"sum": found.sum(1)}
            case "shape":
                return found
            case "type":
                return found.sum(1).double()
            case "raises":
                raise RuntimeError("no such word")
            case "nan":
                return found.sum(1) / (ids.sum(1, keepdim=True) * 0)
        return found.sum(1)


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        ("others", ParityError, "otherwise alone than in a batch of others"),
        ("dict", ExportError, r"answers \(1, 1\) with a dict; its outputs are said to be sum \(float32: batch x 3\)"),
        ("shape", ExportError, r"a tensor \(1, 1, 3\) of float32"),
        ("type", ExportError, "float64"),
        ("raises", ExportError, "RuntimeError: no such word"),
        ("nan", ExportError, "sum that is not finite"),
    ],
)
def test_a_network_that_is_not_as_described_is_refused(fault, error, says, tmp_path):
    with pytest.raises(error, match=says):
        write_proven_tensors(Network(fault), ModelSignature((IDS,), (SUM,)), tmp_path, formats=["torchscript"])


def test_padding_that_is_not_masked_is_found(tmp_path):
    padded = ModelSignature((IDS.model_copy(update={"padding": 0}),), (SUM,))
    with pytest.raises(ParityError, match="nor on the padding behind it"):
        write_proven_tensors(Network(""), padded, tmp_path, formats=["torchscript"])


def test_a_length_that_the_tracer_kept_is_found(tmp_path, monkeypatch):
    def traced(model):
        raise RuntimeError("this test traces")

    monkeypatch.setattr(torch.jit, "script", traced)
    with pytest.raises(ParityError, match="torchscript differs from eager in the output 'sum'"):
        write_proven_tensors(Network("length"), ModelSignature((IDS,), (SUM,)), tmp_path, formats=["torchscript"])


def test_manifests_of_images_have_no_new_keys():
    image = InputEntry(name="images", dtype="float32", shape=("batch", 3, 8, 8))
    assert json.loads(image.model_dump_json()).keys() == {"name", "dtype", "shape", "prepared_by"}
