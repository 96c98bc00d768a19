"""Forms that are programs: loaded where they were written here, or where somebody says that their author is trusted."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import zipfile
from contextlib import suppress

import numpy as np
import pytest

from hubserve.errors import ExportError, PackageError
from hubserve.export.write_package import write_package
from hubserve.package.add_files import add_files
from hubserve.package.package import read_package
from hubserve.package.parity import random_batches
from hubserve.service.engine import Engine
from tests.export.nets import small_source
from tests.package.test_labels_parity_profile import put
from tests.stores import small_package

(BATCH,) = random_batches((3, 32, 32), sizes=(1,))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A package in every form that came from another machine."""
    shutil.copytree(small_package().path, tmp_path / "copy")
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    return tmp_path / "copy"


class _Touch:
    """Unpickled, it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def poisoned(archive: bytes, path) -> bytes:
    """A .pt2 archive whose example inputs are a pickle that writes `path`."""
    found = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as before, zipfile.ZipFile(found, "w", zipfile.ZIP_STORED) as after:
        for entry in before.infolist():
            content = before.read(entry)
            is_pickle = entry.filename.endswith(".pt")
            after.writestr(entry.filename, pickle.dumps(_Touch(path)) if is_pickle else content)
    return found.getvalue()


@pytest.mark.parametrize("form", ["torchscript", "pt2"])
def test_a_program_of_a_stranger_is_not_loaded(elsewhere, form):
    with pytest.raises(PackageError, match=r"was not written here by this user, and .*--trust.*else use onnx"):
        read_package(elsewhere).runner(form)
    assert read_package(elsewhere, trusted=True).runner(form)(BATCH).shape == (1, 7)


def test_code_in_an_archive_does_not_run(elsewhere, tmp_path):
    content = poisoned((elsewhere / "model.pt2").read_bytes(), tmp_path / "it ran")
    package = put(elsewhere, "model.pt2", content)
    package.verify()
    with pytest.raises(PackageError, match="was not written here"):
        package.runner("pt2")
    assert not (tmp_path / "it ran").exists()
    # It is no harmless archive: with trust it does.
    with suppress(ExportError):
        read_package(elsewhere, trusted=True).runner("pt2")
    assert (tmp_path / "it ran").exists()


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_what_only_computes_needs_no_trust(elsewhere, backend):
    assert read_package(elsewhere).runner(backend)(BATCH).shape == (1, 7)


@pytest.mark.parametrize("backend", ["torchscript", "pt2"])
def test_an_engine_does_not_run_it(elsewhere, backend):
    with pytest.raises(PackageError, match="was not written here"):
        Engine(read_package(elsewhere), backend=backend)


def test_what_was_written_here_is_known_again_wherever_it_lies(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    written = write_package(small_source(), tmp_path / "p", formats=("torchscript",))
    expected = written.runner("torchscript")(BATCH)
    shutil.copytree(written.path, tmp_path / "copy")
    np.testing.assert_array_equal(read_package(tmp_path / "copy").runner("torchscript")(BATCH), expected)
    changed = (tmp_path / "copy" / "model.torchscript.pt").read_bytes() + b"\0"
    with pytest.raises(PackageError, match="was not written here"):
        put(tmp_path / "copy", "model.torchscript.pt", changed).runner("torchscript")


def test_a_home_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", "/proc/nothing")
    written = write_package(small_source(), tmp_path / "p", formats=("torchscript",))
    assert add_files(written, {"note.txt": b""}).runner("torchscript")(BATCH).shape == (1, 7)
    with pytest.raises(PackageError, match="was not written here"):
        read_package(tmp_path / "p").runner("torchscript")
