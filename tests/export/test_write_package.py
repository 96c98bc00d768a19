"""Packages: complete, checked, atomic, and usable without us."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from hubserve.errors import PackageError, ParityError, WeightsError
from hubserve.export.eager_runner import EagerRunner
from hubserve.export.rebuild_model import rebuild_model
from hubserve.export.write_package import write_package
from hubserve.package.package import read_package
from hubserve.package.parity import random_batches
from tests.export.nets import small_source


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return write_package(small_source(), tmp_path_factory.mktemp("packages") / "small")


@pytest.fixture
def copy(package, tmp_path):
    """A package to spoil."""
    import shutil

    shutil.copytree(package.path, tmp_path / "copy")
    return tmp_path / "copy"


def test_holds_what_its_docstring_lists(package):
    names = "labels.txt manifest.json model.onnx model.pt2 model.torchscript.pt parity.json run_onnx.py weights.safetensors"
    assert sorted(p.name for p in package.path.iterdir()) == names.split()
    package.verify()
    assert package.labels == small_source().labels
    assert [report.format for report in package.parity] == ["onnx", "torchscript", "pt2"]
    assert package.manifest.input.shape == ("batch", 3, 32, 32)


def test_the_model_is_left_as_it_was(tmp_path):
    """It is copied once: in training mode before, in training mode afterwards, with the same weights and statistics."""
    source = small_source()
    source.model.train()
    before = {name: tensor.clone() for name, tensor in source.model.state_dict().items()}
    write_package(source, tmp_path / "p")
    assert all(module.training for module in source.model.modules())
    after = source.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_all_formats_answer_alike(package):
    batch = random_batches((3, 32, 32), seed=1, sizes=(3,))[0]
    expected = EagerRunner(small_source().model)(batch)
    for runner in (*map(package.runner, package.manifest.exports), EagerRunner(rebuild_model(package))):
        np.testing.assert_allclose(runner(batch), expected, rtol=1e-3, atol=1e-4)


WITHOUT_US = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "hubserve":
            raise ImportError("hubserve is not here")
sys.meta_path.insert(0, Refuse())
import numpy
batch = numpy.load(sys.argv[2])
if sys.argv[1].endswith(".onnx"):
    import onnxruntime
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    logits = session.run(None, {"images": batch})[0]
    assert "torch" not in sys.modules
elif sys.argv[1].endswith(".pt2"):
    import torch
    logits = torch.export.load(sys.argv[1]).module()(torch.from_numpy(batch)).detach().numpy()
else:
    import torch
    logits = torch.jit.load(sys.argv[1])(torch.from_numpy(batch)).detach().numpy()
numpy.save(sys.argv[3], logits)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.onnx", "model.torchscript.pt", "model.pt2"])
def test_runs_in_a_process_without_hubserve(package, tmp_path, name):
    batch = random_batches((3, 32, 32), sizes=(4,))[0]
    np.save(tmp_path / "in.npy", batch)
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT_US, str(package.path / name)]
    subprocess.run([*command, str(tmp_path / "in.npy"), str(tmp_path / "out.npy")], check=True, cwd=tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), EagerRunner(small_source().model)(batch), rtol=1e-3, atol=1e-4)


class TestNothingIsHalfWritten:
    def test_after_a_failed_proof(self, tmp_path):
        """A network that adds noise even in eval mode never agrees with itself."""
        source = small_source()
        source.model.dropout_layer = _AlwaysNoisy()
        with pytest.raises(ParityError):
            write_package(source, tmp_path / "p")
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_is_there_is_kept(self, package, copy):
        with pytest.raises(PackageError, match=r"exists; choose another folder or replace it with .*--overwrite"):
            write_package(small_source(), copy)
        assert read_package(copy).manifest == package.manifest

    def test_overwrite_replaces_a_package(self, copy):
        write_package(small_source("other"), copy, overwrite=True, formats=("onnx",))
        assert read_package(copy).manifest.name == "other"
        assert not (copy / "model.torchscript.pt").exists()
        assert [p.name for p in copy.parent.iterdir()] == ["copy"]

    def test_overwrite_never_replaces_anything_else(self, tmp_path):
        (tmp_path / "photos").mkdir()
        with pytest.raises(PackageError, match="is not a package, so it is not replaced"):
            write_package(small_source(), tmp_path / "photos", overwrite=True)

    def test_labels_must_fit(self, tmp_path):
        with pytest.raises(PackageError, match="7 classes and 1 labels"):
            write_package(dataclasses.replace(small_source(), labels=("one",)), tmp_path / "p")
        assert list(tmp_path.iterdir()) == []

    def test_some_format_is_needed(self, tmp_path):
        with pytest.raises(PackageError, match="choose from onnx, torchscript"):
            write_package(small_source(), tmp_path / "p", formats=())
        with pytest.raises(PackageError, match="choose from onnx, torchscript"):
            write_package(small_source(), tmp_path / "p", formats=("onnx", "tflite"))

    @pytest.mark.parametrize("label", ["two\nlines", "ends in CR\r", "c\rr"])
    def test_a_label_is_one_line(self, label, tmp_path):
        labels = (*small_source().labels[:-1], label)
        with pytest.raises(PackageError, match="has a line break"):
            write_package(dataclasses.replace(small_source(), labels=labels), tmp_path / "p")

    def test_unusual_labels_survive(self, tmp_path):
        labels = (*small_source().labels[:-1], "page\u2028break\x0c, \u00e9t\u00e9")
        package = write_package(dataclasses.replace(small_source(), labels=labels), tmp_path / "p", formats=("onnx",))
        assert package.labels == labels
        package.verify()

    def test_an_arch_that_is_not_the_model_s(self, tmp_path):
        wrong = {**small_source().arch, "s2_i0": "k5e3"}
        with pytest.raises(WeightsError):
            write_package(dataclasses.replace(small_source(), arch=wrong), tmp_path / "p", formats=("onnx",))
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_appears_meanwhile_is_kept(self, tmp_path):
        source = small_source()
        real_forward = source.model.forward

        def someone_else_writes(x):
            (tmp_path / "p").mkdir(exist_ok=True)
            (tmp_path / "p" / "diary.txt").write_text("mine")
            return real_forward(x)

        source.model.forward = someone_else_writes
        with pytest.raises(PackageError, match="exists"):
            write_package(source, tmp_path / "p", formats=("torchscript",))
        assert [path.name for path in tmp_path.rglob("*")] == ["p", "diary.txt"]


@pytest.mark.slow
class TestSpoiled:
    def test_no_package(self, tmp_path):
        with pytest.raises(PackageError, match=r"no readable manifest\.json"):
            read_package(tmp_path)

    def test_a_changed_file(self, copy):
        with (copy / "model.onnx").open("r+b") as file:
            file.seek(1000)
            file.write(b"\0\0\0\0")
        with pytest.raises(PackageError, match=r"model\.onnx was changed"):
            read_package(copy).verify()

    def test_a_missing_file(self, copy):
        (copy / "labels.txt").unlink()
        with pytest.raises(PackageError, match=r"labels\.txt is missing"):
            read_package(copy)

    @pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", ".."])
    def test_files_lie_in_the_package(self, copy, name):
        self.edit(copy, lambda m: m["files"].update({name: {"bytes": 0, "sha256": ""}}))
        with pytest.raises(PackageError, match="files lie in the package's own folder"):
            read_package(copy)

    def test_a_file_that_the_manifest_forgets(self, copy):
        self.edit(copy, lambda m: m["files"].pop("model.onnx"))
        with pytest.raises(PackageError, match=r"does not list model\.onnx"):
            read_package(copy)

    def test_an_entry_of_the_wrong_kind_is_named(self, copy):
        self.edit(copy, lambda m: m["preprocess"].update(input_size="large"))
        with pytest.raises(PackageError, match=r"preprocess\.input_size"):
            read_package(copy)

    def test_a_manifest_that_is_no_text(self, copy):
        (copy / "manifest.json").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(PackageError, match=r"no readable manifest\.json"):
            read_package(copy)

    def test_a_form_that_was_never_proven(self, copy):
        (copy / "parity.json").write_text("[]")
        self.edit(copy, lambda m: m["files"].update({"parity.json": _entry(copy / "parity.json")}))
        with pytest.raises(PackageError, match="onnx has not passed"):
            read_package(copy).verify()

    def test_a_form_that_is_not_there(self, copy):
        write_package(small_source(), copy, overwrite=True, formats=("onnx",))
        with pytest.raises(PackageError, match="has no torchscript; it has onnx"):
            read_package(copy).runner("torchscript")

    def test_a_space_of_someone_else(self, copy):
        self.edit(copy, lambda m: m.update(space="Mine"))
        with pytest.raises(PackageError, match="cannot be rebuilt"):
            rebuild_model(read_package(copy))

    @staticmethod
    def edit(folder, change):
        manifest = json.loads((folder / "manifest.json").read_text())
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))


class _AlwaysNoisy(torch.nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


def _entry(path):
    import hashlib

    return {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
