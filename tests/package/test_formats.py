"""Formats that a Python does not support; the version is replaced, nothing here ran on Python 3.14."""

from __future__ import annotations

import pytest

from hubserve.package import formats
from hubserve.package.formats import FORMATS, default_formats, unsupported_format


@pytest.mark.parametrize(("python", "missing"), [((3, 11), set()), ((3, 13), set()), ((3, 14), {"torchscript"})])
def test_torchscript_ends_with_python_3_13(python, missing, monkeypatch):
    monkeypatch.setattr(formats, "PYTHON", python)
    assert {name for name in FORMATS if unsupported_format(name) is not None} == missing
    assert default_formats() == tuple(name for name in ("onnx", "torchscript", "pt2") if name not in missing)
