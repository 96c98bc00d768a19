"""What an ONNX file names is read before a runtime opens it: no other file is opened, and OpenVINO gets no loop."""

from __future__ import annotations

import contextlib
import json
import os
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from hubserve.errors import ExportError, PackageError
from hubserve.package import first_load, trust
from hubserve.package.file_hashes import file_entry
from hubserve.package.manifest import FileEntry
from hubserve.package.onnx_contents import check_external_data, read_onnx_contents
from hubserve.package.package import MANIFEST, read_package
from tests import endless_onnx
from tests.stores import small_package

DATA = "model.onnx.data"


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(first_load, "_known", set())


def outside(tensor: TensorProto, **entries) -> None:
    """Makes a tensor one of another file."""
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    for name, value in entries.items():
        tensor.external_data.add(key=name, value=str(value))


def package_naming(tmp_path, listed=True, **entries):
    """A package whose weights lie in a second file, listed in its manifest, and whose model says where."""
    model = endless_onnx.loop_for_white()
    weights = model.graph.initializer[0]
    content = np.eye(3, endless_onnx.CLASSES, dtype=np.float32).tobytes()
    outside(weights, **entries)
    folder = endless_onnx.package_with(endless_onnx.large(1), tmp_path / "package")
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / DATA).write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"] |= {name: file_entry(folder / name).model_dump() for name in ("model.onnx", *[DATA] * listed)}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return read_package(folder)


def test_external_data_in_the_package_works(tmp_path):
    package = package_naming(tmp_path, location=DATA, offset=0, length=4 * 3 * endless_onnx.CLASSES)
    package.verify()
    logits = package.runner("onnx")(np.full((1, 3, 32, 32), 1.0, np.float32))
    assert logits.shape == (1, endless_onnx.CLASSES)


@pytest.mark.parametrize(
    "entries",
    [
        {"location": "/etc/passwd"},
        {"location": "../../etc/passwd"},
        {"location": "../package/" + DATA},
        {"location": "./" + DATA},
        {"location": "..\\" + DATA},
        {"location": ".."},
        {"location": ""},
        {"length": 84},
        {"location": "*/_ORT_MEM_ADDR_/*", "offset": 4096, "length": 84},
        {"location": "no such file"},
        {"location": DATA, "offset": 2**62},
        {"location": DATA, "offset": -1},
        {"location": DATA, "length": 2**62},
        {"location": DATA, "offset": 2**63 - 1, "length": 2**63 - 1},
        {"location": DATA, "offset": 1, "length": 84},
        {"location": DATA, "length": "many"},
    ],
    ids=str,
)
def test_other_files_and_other_bytes_are_refused(tmp_path, entries, monkeypatch):
    package = package_naming(tmp_path, **entries)
    monkeypatch.setattr("hubserve.package.package.FirstLoad", None)  # No process may open it.
    for use in (package.verify, lambda: package.runner("onnx"), lambda: package.first_load("onnx")):
        with pytest.raises(PackageError, match="as a file of external data"):
            use()


def test_a_link_and_an_unlisted_file_are_refused(tmp_path):
    with pytest.raises(PackageError, match="that the manifest lists"):
        package_naming(tmp_path / "unlisted", listed=False, location=DATA).runner("onnx")
    package = package_naming(tmp_path / "link", location=DATA)
    (package.path / DATA).rename(tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", package.path / DATA)
    with pytest.raises(PackageError, match="which is a link"):
        package.verify()


def test_a_second_location_is_refused(tmp_path):
    package = package_naming(tmp_path, location=DATA)
    model = onnx.load(package.path / "model.onnx", load_external_data=False)
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    (package.path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ExportError, match="gives 'location' twice"):
        read_package(package.path).runner("onnx")


def everywhere() -> dict[str, onnx.ModelProto]:
    """A tensor of another file at each place where a model has tensors."""

    def tensor() -> TensorProto:
        made = helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0])
        outside(made, location="/etc/passwd")
        return made

    models = {}
    for place in ("initializer", "sparse", "attribute", "attributes", "body", "function", "training"):
        model = endless_onnx.loop()
        node = model.graph.node[0]
        if place == "initializer":
            model.graph.initializer.append(tensor())
        elif place == "sparse":
            model.graph.sparse_initializer.add().values.CopyFrom(tensor())
        elif place == "attribute":
            node.attribute.append(helper.make_attribute("value", tensor()))
        elif place == "attributes":
            node.attribute.append(helper.make_attribute("values", [tensor()]))
        elif place == "body":
            model.graph.node[-1].attribute[0].g.initializer.append(tensor())
        elif place == "function":
            inner = helper.make_node("Constant", [], ["c"], value=tensor())
            model.functions.append(helper.make_function("own", "f", [], ["c"], [inner], [helper.make_opsetid("", 17)]))
        else:
            model.training_info.add().algorithm.initializer.append(tensor())
        models[place] = model
    return models


@pytest.mark.parametrize(("place", "model"), everywhere().items(), ids=everywhere())
def test_every_place_of_a_tensor_is_read(tmp_path, place, model):
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    contents = read_onnx_contents(path)
    assert contents.external == [{"location": "/etc/passwd"}], place
    assert "Loop" in contents.operators
    with pytest.raises(PackageError, match="/etc/passwd"):
        check_external_data(path, contents, {"/etc/passwd": FileEntry(bytes=1, sha256="0" * 64)})


def test_any_bytes_are_an_error_or_a_model_in_no_time(tmp_path):
    content = endless_onnx.loop().SerializeToString()
    path = tmp_path / "model.onnx"
    generator = np.random.default_rng(0)
    begin = time.monotonic()
    for _ in range(300):
        changed = np.frombuffer(content, np.uint8).copy()
        changed[generator.integers(len(changed), size=3)] = generator.integers(256, size=3)
        path.write_bytes(changed.tobytes()[: generator.integers(1, len(changed) + 1)])
        with contextlib.suppress(ExportError):
            read_onnx_contents(path)
    path.write_bytes(b"")
    with pytest.raises(ExportError, match="is not a file in ONNX"):
        read_onnx_contents(path)
    deep = b""
    for _ in range(2000):  # A graph in an attribute of a node of a graph, again and again.
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            deep = tag + _varint(len(deep)) + deep
    path.write_bytes(b"\x3a" + _varint(len(deep)) + deep)
    with pytest.raises(ExportError, match="nested more than 100 deep"):
        read_onnx_contents(path)
    assert time.monotonic() - begin < 10


def test_a_number_that_parsers_cut_to_another_field_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(_varint(2**32 + 0x3A) + b"\0")  # Its lower 32 bits are those of the graph.
    with pytest.raises(ExportError, match="number of the field before byte 5 is too large"):
        read_onnx_contents(path)


def _varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def test_what_our_export_writes_passes():
    package = small_package()
    contents = read_onnx_contents(package.path / "model.onnx")
    assert "Conv" in contents.operators
    assert not contents.external


class TestOpenVino:
    def test_gets_no_loop_of_somebody_else(self, tmp_path, monkeypatch):
        folder = endless_onnx.package_with(endless_onnx.loop_for_white(), tmp_path / "package")
        monkeypatch.setattr("hubserve.package.package.OpenVinoRunner", None)
        monkeypatch.setattr("hubserve.package.package.FirstLoad", None)
        for use in (read_package(folder).runner, read_package(folder).first_load):
            with pytest.raises(PackageError, match="has the operator Loop: OpenVINO cannot end a loop that runs too long"):
                use("openvino")

    def test_gets_those_that_are_trusted_or_written_here(self, tmp_path):
        folder = endless_onnx.package_with(endless_onnx.loop_for_white(), tmp_path / "package")
        read_package(folder, trusted=True)._check_onnx("openvino")
        trust.record_written([file_entry(folder / "model.onnx").sha256])
        read_package(folder)._check_onnx("openvino")

    def test_gets_models_without_loops_of_anybody(self, tmp_path):
        folder = endless_onnx.package_with(endless_onnx.large(1), tmp_path / "package")
        read_package(folder)._check_onnx("openvino")
