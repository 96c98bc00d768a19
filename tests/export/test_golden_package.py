"""A package that version 4304603 wrote: it opens, answers as it did, and is the source of a new one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hubserve.export.eager_runner import EagerRunner
from hubserve.export.model_source import package_source
from hubserve.export.write_package import write_package
from hubserve.package.package import read_package

GOLDEN = Path(__file__).parent.parent / "golden"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())["package"]


@pytest.fixture(scope="module")
def package():
    return read_package(GOLDEN / "package", trusted=True)


@pytest.fixture(scope="module")
def batch(package):
    side = package.manifest.preprocess.input_size
    return np.linspace(-1, 1, 2 * 3 * side * side, dtype=np.float32).reshape(2, 3, side, side)


def test_it_opens_and_is_whole(package):
    package.verify()
    manifest = package.manifest
    assert (manifest.name, manifest.arch, manifest.settings) == tuple(EXPECTED[key] for key in ("name", "arch", "settings"))
    assert list(manifest.exports) == EXPECTED["exports"]
    assert list(package.labels) == EXPECTED["labels"]
    assert [report.format for report in package.parity] == EXPECTED["exports"]
    assert package.profile is not None


@pytest.mark.parametrize("name", EXPECTED["logits"])
def test_each_format_answers_as_it_did(package, batch, name):
    tolerance = 0.1 if name == "onnx-int8" else 1e-4
    np.testing.assert_allclose(package.runner(name)(batch), EXPECTED["logits"][name], rtol=tolerance, atol=tolerance)


def test_it_is_rebuilt_and_written_again(package, batch, tmp_path):
    source = package_source(package)
    np.testing.assert_allclose(EagerRunner(source.model)(batch), EXPECTED["logits"]["onnx"], rtol=1e-3, atol=1e-4)
    again = write_package(source, tmp_path / "again", formats=("onnx",))
    assert again.manifest.provenance == package.manifest.provenance
    np.testing.assert_allclose(again.runner("onnx")(batch), EXPECTED["logits"]["onnx"], rtol=1e-3, atol=1e-4)
