"""Files of a package that anybody may have written, under hashes that fit: they work, or PackageError tells what is wrong."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from safetensors.torch import load_file, save_file

from hubserve.errors import ExportError, PackageError, WeightsError
from hubserve.export.rebuild_model import rebuild_model
from hubserve.package.package import LABELS, MANIFEST, PARITY, PROFILE, WEIGHTS, read_package
from hubserve.service.engine import Engine
from tests.package.test_manifest import ANY_JSON
from tests.stores import small_package

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ONNX = "model.onnx"
DEEP = b"[" * 100_000


@pytest.fixture
def copy(tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(small_package().path, folder)
    return folder


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    """One folder for all examples of a test, which change the same file."""
    folder = tmp_path_factory.mktemp("packages") / "fuzzed"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def put(folder, name: str, content: bytes):
    """The package with that file in it, and its right hash in the manifest."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    if name == ONNX:  # Made here without the features that the real file has.
        manifest["outputs"] = manifest["outputs"][:1]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return read_package(folder)


def put_anew(folder, name: str, content: bytes):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(small_package().path, folder)
    return put(folder, name, content)


def told(call) -> str:
    """What was said of it; "" where it works. Every other exception is a fault."""
    try:
        call()
    except (PackageError, ExportError, WeightsError) as error:
        said = str(error)
    else:
        return ""
    assert len(said) > 20
    return said


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"{nope", r"parity\.json begins with '{nope' and is not JSON"),
        (b"[1]", r"parity\.json: 0 = 1: .*expected a list of comparisons with eager PyTorch; export it again"),
        (b"{}", r"parity\.json: its content = {}"),
        (b"\xff", r"parity\.json cannot be read as text in UTF-8"),
        (b"[NaN]", "NaN is not a number"),
        (b"[1e999]", "1e999 is too large"),
        (DEEP, "is not JSON"),
    ],
)
def test_parity_of_another_kind(copy, content, what):
    package = put(copy, PARITY, content)
    with pytest.raises(PackageError, match=what):
        package.verify()


def test_labels_that_are_no_text(copy):
    package = put(copy, LABELS, b"caf\xe9\n" * 7)
    with pytest.raises(PackageError, match=r"labels\.txt cannot be read as text in UTF-8.*expected one class a line"):
        package.verify()


@pytest.mark.parametrize("content", [b"{nope", b"\xff", b"[]", b"NaN", b'{"p50": NaN}', b'{"p50": 1e999}', b"9" * 5000, DEEP])
def test_a_profile_of_another_kind(copy, content):
    package = put(copy, PROFILE, content)
    with pytest.raises(PackageError, match=r"profile\.json .*expected an object; measure it again"):
        _ = package.profile


JUNK = st.binary(max_size=200) | ANY_JSON.map(lambda value: json.dumps(value).encode())


@FEW
@given(content=JUNK)
def test_any_parity(fuzzed, content):
    assert told(put_anew(fuzzed, PARITY, content).verify)


@FEW
@given(data=st.data())
def test_one_entry_of_parity_is_anything(fuzzed, data):
    reports = json.loads((small_package().path / PARITY).read_text())
    report = data.draw(st.sampled_from(reports))
    report[data.draw(st.sampled_from(sorted(report)))] = data.draw(ANY_JSON)
    told(put_anew(fuzzed, PARITY, json.dumps(reports).encode()).verify)


@FEW
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_labels(fuzzed, content):
    told(put_anew(fuzzed, LABELS, content).verify)


@FEW
@given(content=JUNK)
def test_any_profile(fuzzed, content):
    package = put_anew(fuzzed, PROFILE, content)
    package.verify()
    if not told(lambda: package.profile):
        json.dumps(package.profile, allow_nan=False)


def changed(content: bytes, data) -> bytes:
    """With some bytes cut out, put in or overwritten; mostly in the head, where the structure is."""
    head = data.draw(st.sampled_from([16, 2000, len(content)]))
    at = data.draw(st.integers(0, head - 1))
    gone = data.draw(st.sampled_from([0, 1, 4, len(content) - at]))
    return content[:at] + data.draw(st.binary(max_size=8)) + content[at + gone :]


@FEW
@given(data=st.data())
def test_damaged_weights(fuzzed, data):
    content = changed((small_package().path / WEIGHTS).read_bytes(), data)
    told(lambda: rebuild_model(put_anew(fuzzed, WEIGHTS, content)))


@pytest.mark.slow
@FEW
@given(data=st.data())
def test_a_damaged_network(fuzzed, data):
    package = put_anew(fuzzed, ONNX, changed((small_package().path / ONNX).read_bytes(), data))
    told(lambda: Engine(package))


@pytest.mark.parametrize("dtype", ["F8_E4M3", "BOOL", "C64", "F4", "U64"])
def test_weights_of_a_type_that_is_not_theirs(copy, dtype):
    content = (copy / WEIGHTS).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["classifier.linear.bias" if "classifier.linear.bias" in header else sorted(header)[1]]["dtype"] = dtype
    text = json.dumps(header).encode()
    assert told(lambda: rebuild_model(put(copy, WEIGHTS, len(text).to_bytes(8, "little") + text + content[8 + length :])))


def test_weights_without_one(copy):
    state = load_file(copy / WEIGHTS)
    state.pop(sorted(state)[0])
    save_file(state, copy / "less")
    assert "1 missing" in told(lambda: rebuild_model(put(copy, WEIGHTS, (copy / "less").read_bytes())))


def network(outputs: list[int | str], kind: int = TensorProto.FLOAT, inputs: int = 1, size: int = 32) -> bytes:
    """Means of the colours, repeated or cut to the asked shape: valid ONNX, and perhaps no classifier of the package."""
    images = [helper.make_tensor_value_info(f"images{i}", TensorProto.FLOAT, ["n", 3, size, size]) for i in range(inputs)]
    nodes = [
        helper.make_node("GlobalAveragePool", ["images0"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["product"]),
        helper.make_node("Cast", ["product"], ["logits"], to=kind),
    ]
    weight = helper.make_tensor("weight", TensorProto.FLOAT, [3, outputs[-1]], np.ones(3 * int(outputs[-1]), np.float32))
    logits = helper.make_tensor_value_info("logits", kind, outputs)
    graph = helper.make_graph(nodes, "made up", images, [logits], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def test_a_network_of_the_right_kind(copy):
    engine = Engine(put(copy, ONNX, network(["n", 7])))
    assert engine.answer([engine.prepare(np.zeros((3, 32, 32), np.float32))])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (network(["n", 5]), r"logits of shape \(1, 5\), and there are 7 labels"),
        (network(["n", 9]), r"logits of shape \(1, 9\), and there are 7 labels"),
        (network(["n", 7], TensorProto.DOUBLE), r"expected one input and one output, .*, all tensor\(float\)"),
        (network(["n", 7], inputs=2), "expected one input and one output"),
        (network(["n", 7], size=48), r"cannot run onnx on \(1, 3, 32, 32\)"),
        (b"", "cannot load"),
        (b"PK\x03\x04", "cannot load"),
    ],
    ids=["few", "many", "double", "two-inputs", "size", "empty", "zip"],
)
def test_a_network_of_another_kind(copy, content, what):
    package = put(copy, ONNX, content)
    with pytest.raises((PackageError, ExportError), match=what):
        Engine(package)
