"""Packages are sources too: forms are added by writing them anew from the rebuilt module."""

from __future__ import annotations

import shutil

import pytest

from hubserve.errors import PackageError
from hubserve.export.model_source import package_source
from hubserve.export.write_package import write_package
from hubserve.package.add_files import add_profile
from hubserve.package.package import read_package
from tests.stores import tiny_package


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(tiny_package().path, tmp_path / "copy")
    return read_package(tmp_path / "copy")


def test_a_form_is_added(copy):
    source = package_source(copy)
    written = write_package(source, copy.path, formats=("torchscript", "pt2"), overwrite=True)
    assert list(written.manifest.exports) == ["torchscript", "pt2"]
    same = ("name", "space", "settings", "arch", "preprocess", "provenance", "output")
    assert all(getattr(written.manifest, name) == getattr(tiny_package().manifest, name) for name in same)
    assert written.labels == tiny_package().labels
    assert (copy.path / "weights.safetensors").read_bytes() == (tiny_package().path / "weights.safetensors").read_bytes()
    written.verify()


def test_a_changed_package_is_no_source(copy):
    (copy.path / "labels.txt").write_text("other\n")
    with pytest.raises(PackageError, match=r"labels\.txt was changed"):
        package_source(copy)


class TestProfileInside:
    def test_is_listed_and_read_back(self, copy):
        assert copy.profile is None
        with_profile = add_profile(copy, '{"formats": []}\n')
        assert with_profile.profile == {"formats": []}
        with_profile.verify()
        assert set(with_profile.manifest.files) == {*copy.manifest.files, "profile.json"}
        assert [path.name for path in copy.path.parent.iterdir()] == ["copy"]
        again = add_profile(with_profile, '{"formats": [1]}\n')
        again.verify()
        assert again.profile == {"formats": [1]}

    def test_keys_of_an_older_report_have_their_new_names(self, copy):
        text = '{"forms": [{"form": "onnx", "n": 1}], "sweep": {"form": "onnx"}, "memory": [{"form": "eager"}]}'
        assert add_profile(copy, text).profile == {
            "formats": [{"format": "onnx", "n": 1}],
            "sweep": {"format": "onnx"},
            "memory": [{"format": "eager"}],
        }

    @pytest.mark.parametrize("text", ["{", "[1]"])
    def test_that_is_no_report(self, copy, text):
        with pytest.raises(PackageError, match=r"profile\.json .*measure it again"):
            _ = add_profile(copy, text).profile

    def test_a_failure_leaves_the_package_as_it_was(self, copy, monkeypatch):
        def full(*_):
            raise OSError(28, "no space is left on device", "profile.json")

        monkeypatch.setattr("os.rename", full)
        with pytest.raises(OSError, match="no space is left"):
            add_profile(copy, "{}")
        monkeypatch.undo()
        assert read_package(copy.path).manifest == copy.manifest
        assert [path.name for path in copy.path.parent.iterdir()] == ["copy"]
