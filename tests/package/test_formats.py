"""Formats that a Python does not support; the version is replaced, nothing here ran on Python 3.14."""

from __future__ import annotations

import pytest

from hubserve.package import formats
from hubserve.package.formats import FORMATS, default_formats, unsupported_format


@pytest.mark.parametrize(("python", "missing"), [((3, 11), set()), ((3, 13), set()), ((3, 14), {"torchscript", "ncnn"})])
def test_torchscript_ends_with_python_3_13(python, missing, monkeypatch):
    monkeypatch.setattr(formats, "PYTHON", python)
    assert {name for name in FORMATS if unsupported_format(name) is not None} == missing
    assert default_formats() == tuple(name for name in ("onnx", "torchscript", "pt2") if name not in missing)


def test_every_file_of_a_format_has_a_name_of_its_own():
    files = [file for entry in FORMATS.values() for file in entry.files]
    assert len(files) == len(set(files)) > len(FORMATS)


def test_each_format_names_the_library_that_runs_it():
    runtimes = {name: entry.runtime for name, entry in FORMATS.items()}
    assert {runtimes[name] for name in ("onnx", "onnx-fp16", "onnx-int8")} == {"onnxruntime"}
    assert {runtimes[name] for name in ("torchscript", "pt2")} == {"torch"}
    rest = ("executorch", "executorch-int8", "litert", "litert-int8", "ncnn")
    assert [runtimes[name] for name in rest] == ["executorch", "executorch", "ai-edge-litert", "ai-edge-litert", "ncnn"]
