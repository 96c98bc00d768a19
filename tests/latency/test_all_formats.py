"""The table of all formats: the same images for each, what fails with its reason, and figures that can be computed again."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hubserve.data.image_batches import image_batches
from hubserve.errors import DatasetError, ExportError
from hubserve.export import parity_proof
from hubserve.export.exportable_model import ExportableModel
from hubserve.latency.all_formats import NO_DATA, profile_all_formats
from hubserve.latency.format_table import FormatTable
from hubserve.package.formats import FORMATS
from hubserve.package.manifest import ALL_FORMATS
from tests.export.nets import small_source
from tests.export.test_mobile_formats import installed

SOURCE = small_source()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """56 images in the folders of 7 classes."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("data")
    for label in SOURCE.labels:
        (root / label).mkdir()
        for i in range(8):
            Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(root / label / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def table(data):
    """TorchScript works, and ExecuTorch is not installed: None in `sys.modules` makes its import fail."""
    with pytest.MonkeyPatch.context() as patch:
        for loaded in [loaded for loaded in sys.modules if loaded.startswith("executorch.")]:
            patch.delitem(sys.modules, loaded)
        patch.setitem(sys.modules, "executorch", None)
        return profile_all_formats(SOURCE, data=data, formats=("torchscript", "executorch"), seconds=0.5, memory=False)


def test_what_works_and_what_does_not(table):
    assert [row.format for row in table.rows] == ["eager", "torchscript"]
    assert set(table.failed) == {"executorch", "openvino"}
    assert "pip install 'hubserve[executorch]'" in table.failed["executorch"]
    assert "it runs the file of onnx" in table.failed["openvino"]


def test_the_accuracy_is_that_of_every_second_batch(table, data):
    images = image_batches(data, SOURCE.preprocess, SOURCE.labels, most=200)
    with torch.inference_mode():
        given = [SOURCE.model(torch.from_numpy(batch)).argmax(1).numpy() for batch in images.batches]
    right = [np.mean(given[i] == images.classes[8 * i : 8 * i + 8]) for i in (1, 3, 5)]
    assert (table.labelled_images, table.calibration_images) == (24, 32)
    assert [row.top1 for row in table.rows] == pytest.approx([np.mean(right)] * 2)
    for row in table.rows:
        assert row.top1_interval[0] < row.top1 < row.top1_interval[1]


def test_the_figures_of_a_row(table):
    eager, script = table.rows
    assert (eager.error, eager.same_top1, eager.peak_mib) == (None, None, None)
    assert 0 <= script.error < 1e-4
    assert script.same_top1 == 1
    assert script.runtime == f"torch {torch.__version__.partition('+')[0]}"
    assert script.file_bytes > 10_000
    assert FormatTable.model_validate_json(table.model_dump_json()) == table


def test_wrong_logits_are_listed_and_not_measured(monkeypatch):
    class Twice(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            return 2 * self.model(x)

    def double(source, path):
        return torchscript(ExportableModel(Twice(source.model), source.example), path)

    torchscript = parity_proof.WRITERS["torchscript"]
    monkeypatch.setitem(parity_proof.WRITERS, "pt2", double)
    monkeypatch.setitem(FORMATS, "pt2", replace(FORMATS["pt2"], load=FORMATS["torchscript"].load))
    found = profile_all_formats(SOURCE, formats=("torchscript", "pt2", "onnx-int8"), seconds=0.2, memory=False)
    assert [row.format for row in found.rows] == ["eager", "torchscript"]
    assert "differs from eager: largest error" in found.failed["pt2"]
    assert "onnx-int8 needs images" in found.failed["onnx-int8"]
    assert (found.accuracy_unknown, found.labelled_images, found.rows[0].top1) == (NO_DATA, 0, None)


def test_nothing_works():
    with pytest.raises(
        ExportError, match="can be exported in none of the formats onnx-int8: onnx-int8: onnx-int8 needs images"
    ):
        profile_all_formats(SOURCE, formats=("onnx-int8",))


def test_no_such_data(tmp_path):
    with pytest.raises(DatasetError, match="nosuch"):
        profile_all_formats(SOURCE, data=tmp_path / "nosuch", formats=("torchscript",))


@pytest.mark.slow
def test_every_format(data):
    table = profile_all_formats(SOURCE, data=data, seconds=5)
    print(json.dumps(table.model_dump(mode="json"), indent=1))
    works, fails = {row.format for row in table.rows}, set(table.failed)
    assert works | fails == {"eager", "openvino", *ALL_FORMATS}
    assert {"eager", "onnx", "torchscript", "pt2", "onnx-int8"} <= works
    assert "for CUDA" in table.failed["onnx-fp16"]
    for name in ("executorch", "executorch-int8", "litert", "litert-int8", "ncnn"):
        assert (name in works) == installed(name), table.failed.get(name)
    for row in table.rows:
        assert row.p50_ms > 0
        assert row.top1 is not None
        assert row.format in ("eager", "onnx-int8", "executorch-int8", "litert-int8") or row.error < 1e-4
        if Path("/proc/self/clear_refs").exists():
            assert row.peak_mib > row.model_mib > 0
    sizes = {row.format: row.file_bytes for row in table.rows}
    assert sizes["onnx-int8"] < sizes["onnx"]
    if "ncnn" in sizes:  # Its weights lie in a second file.
        assert sizes["ncnn"] > sizes["onnx"] / 3
