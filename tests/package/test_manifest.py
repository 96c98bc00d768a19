"""Manifests that anybody may have written: a package, or PackageError, and nothing outside its folder is touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hubserve.errors import PackageError
from hubserve.package.manifest import InputEntry
from hubserve.package.package import MANIFEST, read_package
from tests.stores import tiny_package

GOLDEN = Path(__file__).parent.parent / "golden"

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


def test_version_1_is_read_as_version_2():
    """A package that the version before this one wrote."""
    folder = GOLDEN / "package"
    written = json.loads((folder / MANIFEST).read_text())
    assert written["format_version"] == 1
    manifest = read_package(folder).manifest
    assert manifest.format_version == 2
    assert manifest.inputs[0].model_dump(mode="json") == {**written["input"], "prepared_by": "image"}
    assert manifest.outputs[0].model_dump(mode="json") == {**written["output"], "meaning": "logits"}
    assert (manifest.temperature, manifest.test, manifest.preprocess.fit) == (None, None, "crop")


def test_a_newer_version_is_refused_with_a_sentence(copy):
    manifest = json.loads((tiny_package().path / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps({**manifest, "format_version": 3}))
    with pytest.raises(PackageError, match="format_version is 3, and this hubserve reads 1 and 2; a newer hubserve wrote it"):
        read_package(copy)


class TestInputEntry:
    def test_images_are_written_as_earlier_readers_know_them(self):
        entry = InputEntry(name="images", dtype="float32", shape=("batch", 3, 8, 8))
        assert set(entry.model_dump()) == {"name", "dtype", "shape", "prepared_by"}
        assert InputEntry.model_validate_json(entry.model_dump_json()) == entry

    def test_token_ids_keep_their_limits(self):
        entry = InputEntry(
            name="tokens", dtype="int64", shape=("batch", "length"), lowest=0, highest=99, padding=1, axes={"length": (1, None)}
        )
        assert entry.model_dump()["highest"] == 99
        assert InputEntry.model_validate_json(entry.model_dump_json()) == entry

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"dtype": "float32", "padding": 0}, "are for integers"),
            ({"lowest": 5, "highest": 4}, "is below lowest"),
            ({"lowest": 1, "padding": 1, "highest": 1}, "also the padding"),
            ({"axes": {"width": (1, 2)}}, "is no axis"),
            ({"axes": {"length": (3, 2)}}, "from 3 to 2"),
        ],
    )
    def test_limits_that_allow_nothing_are_refused(self, wrong, message):
        with pytest.raises(ValidationError, match=message):
            InputEntry(**{"name": "tokens", "dtype": "int64", "shape": ("batch", "length"), **wrong})
