"""What torch says of TorchScript is handled in one place."""

from __future__ import annotations

import warnings

import pytest
import torch

from hubserve.errors import ExportError
from hubserve.export.exportable_model import ExportableModel
from hubserve.export.write_package import write_package
from tests.export.nets import small_source


def test_torch_still_says_what_we_silence():
    """When this fails, torch has changed its mind, and torchscript.py should be read again."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.jit.script(torch.nn.Linear(2, 2))
    assert [w.category for w in said] == [FutureWarning]
    assert "`torch.jit.script` is deprecated" in str(said[0].message)


def test_python_3_14_is_refused_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr("hubserve.package.formats.PYTHON", (3, 14))
    source = small_source()
    with pytest.raises(ExportError, match=r"does not support TorchScript on Python 3\.14; .*formats=\('onnx', 'pt2'\)"):
        write_package(source, tmp_path / "p", formats=("torchscript",))
    assert list(tmp_path.iterdir()) == []


def test_the_range_of_versions_is_recorded(tmp_path):
    manifest = write_package(small_source(), tmp_path / "p", formats=("torchscript",)).manifest
    assert manifest.exports["torchscript"]["reads_with"] == f"torch {torch.__version__} or later, Python 3.11 to 3.13"
    assert ExportableModel(small_source().model, torch.zeros(1, 3, 32, 32)).name == "ProxylessNet"
