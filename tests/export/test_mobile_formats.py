"""Formats for phones and boards: written, run by their own runtimes, compared with eager PyTorch, refused where wrong."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
import sys

import numpy as np
import pytest
import torch
from torch import nn

from hubserve.errors import ExportError, PackageError, ParityError
from hubserve.export.eager_runner import EagerRunner
from hubserve.export.exportable_model import ExportableModel
from hubserve.export.ncnn import export_ncnn
from hubserve.export.write_package import write_package
from hubserve.package import trust
from hubserve.package.formats import FORMATS
from hubserve.package.manifest import INT8_FORMATS
from hubserve.package.package import read_package
from hubserve.package.parity import TOLERANCE, prepared_batches, random_batches
from hubserve.preprocess import Preprocess
from tests.export.nets import small_source

MODULES = {"executorch": "executorch", "litert": "litert_torch", "ncnn": "pnnx"}
"""The module that writes each format, without which its tests are skipped."""


def extra(name):
    return name.removesuffix("-int8")


def installed(name):
    return importlib.util.find_spec(MODULES[extra(name)]) is not None


def mobile(*names):
    """The parameters of a test over formats, each skipped where its extra is not installed."""
    return [
        pytest.param(n, marks=pytest.mark.skipif(not installed(n), reason=f"pip install 'hubserve[{extra(n)}]'")) for n in names
    ]


SOURCE = dataclasses.replace(small_source(), preprocess=Preprocess(input_size=32, resize=32, fit="squash"))
IMAGES = prepared_batches(SOURCE.preprocess, seed=3, sizes=(8, 8, 8, 8))


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The formats that are written fast, in one package."""
    formats = tuple(name for name in ("executorch", "ncnn") if installed(name))
    if not formats:
        pytest.skip("neither executorch nor ncnn is installed")
    return write_package(SOURCE, tmp_path_factory.mktemp("mobile") / "small", formats=formats, images=IMAGES)


@pytest.mark.parametrize("name", mobile("executorch", "ncnn"))
def test_float32_is_that_of_eager_pytorch(package, name):
    report = next(report for report in package.parity if report.format == name)
    assert report.passed
    assert 0 < report.max_abs_error / report.scale < TOLERANCE
    batch = random_batches((3, 32, 32), seed=7, sizes=(3,))[0]
    expected = EagerRunner(SOURCE.model)(batch)
    np.testing.assert_allclose(package.runner(name, threads=2)(batch), expected, rtol=1e-3, atol=1e-4)
    assert package.manifest.exports[name]["batch"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", mobile("executorch-int8", "litert-int8"))
def test_8_bits_are_smaller_and_calibrated(tmp_path, name):
    package = write_package(SOURCE, tmp_path / "p", formats=(extra(name), name), images=IMAGES)
    report = next(report for report in package.parity if report.format == name)
    assert report.passed
    # LiteRT's was 1.17 with ranges that were averaged over the images.
    assert TOLERANCE < report.max_abs_error / report.scale < 0.5
    assert report.batches == (8, 8)
    assert package.manifest.exports[name]["calibration_images"] == 16
    float32, integers = (package.manifest.files[FORMATS[n].file].bytes for n in (extra(name), name))
    assert integers < float32


@pytest.mark.parametrize("name", mobile(*INT8_FORMATS[1:]))
def test_8_bits_need_images(tmp_path, name):
    with pytest.raises(ExportError, match=rf"{name} needs images to calibrate"):
        write_package(SOURCE, tmp_path / "p", formats=(name,))


@pytest.mark.parametrize("name", mobile("executorch"))
def test_an_image_of_another_size_is_refused(package, name):
    with pytest.raises(ExportError, match=rf"{name} cannot run the network on \(1, 3, 16, 16\)"):
        package.runner(name)(np.zeros((1, 3, 16, 16), np.float32))


@pytest.mark.parametrize("name", mobile("executorch", "ncnn"))
def test_files_of_others_are_loaded_only_with_trust(package, name, tmp_path, monkeypatch):
    copy = shutil.copytree(package.path, tmp_path / "copy")
    monkeypatch.setattr(trust, "was_written_here", lambda sha256: False)
    with pytest.raises(PackageError, match=r"was not written here by this user, and .* does not check files"):
        read_package(copy).runner(name)
    assert read_package(copy, trusted=True).runner(name)(IMAGES[0]).shape == (8, 7)


@pytest.mark.skipif(not installed("ncnn"), reason="pip install 'hubserve[ncnn]'")
def test_the_weights_of_ncnn_belong_to_its_files(package, tmp_path):
    copy = shutil.copytree(package.path, tmp_path / "copy")
    (copy / "model.ncnn.bin").write_bytes(b"\0" * 64)
    with pytest.raises(PackageError, match=r"model.ncnn.bin was not written here"):
        read_package(copy).runner("ncnn")
    with pytest.raises(ExportError, match=r"ncnn .* cannot load"):
        read_package(copy, trusted=True).runner("ncnn")
    (copy / "model.ncnn.bin").unlink()
    with pytest.raises(PackageError, match=r"model.ncnn.bin is missing"):
        read_package(copy)


class _OtherWhenTraced(nn.Module):
    """A network whose logits are doubled in the trace that ncnn is written from."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x) * (2 if torch.jit.is_tracing() else 1)


class _SlicedInSteps(nn.Module):
    """A network of which every second feature is taken; ncnn's layer of slices has no step."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, stride=2)
        self.last = nn.Linear(8, 7)

    def forward(self, x):
        return self.last(self.first(x)[:, ::2].mean((2, 3)))


@pytest.mark.skipif(not installed("ncnn"), reason="pip install 'hubserve[ncnn]'")
def test_an_operation_without_a_layer_is_named(tmp_path):
    exportable = ExportableModel(_SlicedInSteps(), torch.rand(1, 3, 32, 32))
    with pytest.raises(ExportError, match=r"_SlicedInSteps cannot run in ncnn, which has no layer for Tensor.slice$"):
        export_ncnn(exportable, tmp_path / "model.ncnn.param")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", mobile("ncnn"))
def test_wrong_logits_are_refused(tmp_path, name):
    source = dataclasses.replace(SOURCE, model=_OtherWhenTraced(SOURCE.model))
    with pytest.raises(ParityError, match=f"{name} differs from eager"):
        write_package(source, tmp_path / "p", formats=(name,))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [*mobile("ncnn"), *(pytest.param(*p.values, marks=[*p.marks, pytest.mark.slow]) for p in mobile("executorch", "litert"))],
)
def test_tensors_that_are_not_contiguous(tmp_path, name):
    """A user's model in channels-last memory, with a transposed matrix, gives the same file as one in the usual memory."""
    source = dataclasses.replace(SOURCE, model=small_source().model)
    source.model.to(memory_format=torch.channels_last)
    for parameter in source.model.parameters():
        if parameter.dim() == 2:
            parameter.data = parameter.data.t().contiguous().t()
    assert not all(parameter.is_contiguous() for parameter in source.model.parameters())
    before = [parameter.stride() for parameter in source.model.parameters()]
    package = write_package(source, tmp_path / "p", formats=(name,))
    assert package.parity[0].max_abs_error / package.parity[0].scale < TOLERANCE
    assert [parameter.stride() for parameter in source.model.parameters()] == before


@pytest.mark.parametrize(("name", "module"), [("executorch", "executorch"), ("litert", "litert_torch"), ("ncnn", "pnnx")])
def test_a_missing_extra_is_named(tmp_path, monkeypatch, name, module):
    """None in `sys.modules` makes an import fail like that of a library that is not installed."""
    for loaded in [loaded for loaded in sys.modules if loaded.startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ExportError, match=rf"is not installed .*pip install 'hubserve\[{name}\]'"):
        write_package(SOURCE, tmp_path / "p", formats=(name,))
