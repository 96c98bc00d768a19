"""Manifests that anybody may have written: a package, or PackageError, and nothing outside its folder is touched."""

from __future__ import annotations

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubserve.errors import PackageError
from hubserve.package.package import MANIFEST, read_package
from tests.stores import tiny_package

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages") / "copy"
    shutil.copytree(tiny_package().path, folder)
    return folder


def read(folder, content: bytes) -> None:
    """Either it is a package, whole and unchanged, or it is told what is wrong."""
    (folder / MANIFEST).write_bytes(content)
    told = None
    try:
        read_package(folder).verify()
    except PackageError as error:
        told = str(error)
    assert told is None or len(told) > 20


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_entry_is_anything(copy, data):
    manifest = json.loads((tiny_package().path / MANIFEST).read_text())
    place = manifest
    key = data.draw(st.sampled_from(sorted(place)))
    while isinstance(place[key], dict) and place[key] and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place)))
    place[key] = data.draw(ANY_JSON)
    read(copy, json.dumps(manifest).encode())


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_anything_is_no_manifest(copy, content):
    (copy / MANIFEST).write_bytes(content)
    with pytest.raises(PackageError):
        read_package(copy)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/b", "..", ".", ""])
def test_no_path_leaves_the_folder(copy, name):
    manifest = json.loads((tiny_package().path / MANIFEST).read_text())
    manifest["files"][name] = {"bytes": 1, "sha256": "0" * 64}
    (copy / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(PackageError, match="files lie in the package's own folder"):
        read_package(copy)
