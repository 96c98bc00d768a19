"""Files that are added to a package, such as pictures of the search that found it."""

from __future__ import annotations

import shutil

import pytest

from hubserve.errors import PackageError
from hubserve.package.add_files import add_files
from hubserve.package.package import Package, read_package
from tests.stores import tiny_package


@pytest.fixture
def copy(tmp_path) -> Package:
    shutil.copytree(tiny_package().path, tmp_path / "copy")
    return read_package(tmp_path / "copy")


def test_they_are_listed_hashed_and_replaced(copy):
    with_files = add_files(copy, {"search-best.svg": b"<svg/>", "notes.txt": b"1"})
    with_files.verify()
    assert set(with_files.manifest.files) == {*copy.manifest.files, "search-best.svg", "notes.txt"}
    again = add_files(with_files, {"notes.txt": b"2"})
    again.verify()
    assert (again.path / "notes.txt").read_bytes() == b"2"
    (again.path / "search-best.svg").write_bytes(b"other")
    with pytest.raises(PackageError, match=r"search-best\.svg was changed"):
        again.verify()


@pytest.mark.parametrize(
    "name", ["manifest.json", "weights.safetensors", "model.onnx", "labels.txt", "../x", "a/b", "", ".", ".."]
)
def test_what_makes_it_a_package_is_not_replaced(copy, name):
    with pytest.raises(PackageError, match="cannot add"):
        add_files(copy, {name: b""})
    copy.verify()
