"""The space of a package: whose code is imported for it, and what is said where its source was changed."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hubserve.errors import PackageError
from hubserve.export.model_source import arch_source, package_source
from hubserve.export.rebuild_model import rebuild_model
from hubserve.export.write_package import write_package as export
from hubserve.hub import get_space
from hubserve.hub.package_space import package_space
from hubserve.package.package import Package, read_package
from hubserve.preprocess import Preprocess
from tests.own_modules import write_package

PATH = "package_spaces.spaces:Small"


def forget() -> None:
    """Forgets the modules, as a new process would."""
    for name in [name for name in sys.modules if name.startswith("package_spaces")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A folder with the modules, a package of their space, and what this user wrote."""
    folder = tmp_path_factory.mktemp("written")
    write_package(folder, "package_spaces")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUBSERVE_HOME", str(folder / "home"))
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        torch.manual_seed(0)
        space = get_space(PATH)
        source = arch_source(space, {}, space.grid_arch(0), name="own", preprocess=Preprocess(input_size=16, resize=16))
        export(source, folder / "own", formats=("onnx",))
        forget()
    return folder


@pytest.fixture
def folder(written, tmp_path, monkeypatch) -> Path:
    """The working folder with the modules and the package; nothing is imported yet."""
    monkeypatch.setenv("HUBSERVE_HOME", str(written / "home"))
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.chdir(written)
    before = (written / "package_spaces" / "spaces.py").read_text()
    yield written
    (written / "package_spaces" / "spaces.py").write_text(before)
    forget()


@pytest.fixture
def package(folder) -> Package:
    return read_package(folder / "own")


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "package_spaces" / "spaces.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_manifest_names_the_code(package):
    manifest = package.manifest
    assert manifest.space == manifest.space_source.import_path == PATH
    assert len(manifest.space_source.sha256) == 64


def test_the_space_of_what_this_user_wrote(package):
    assert package_space(package).count() == 4
    assert rebuild_model(package)(torch.zeros(1, 3, 16, 16)).shape == (1, 10)


def test_a_changed_module_that_the_space_imports_is_named(package, folder):
    init = folder / "package_spaces" / "__init__.py"
    before = init.read_text()
    init.write_text("# changed\n")
    try:
        with pytest.warns(UserWarning, match=rf"the source of {PATH} was changed since .*__init__\.py has the SHA-256"):
            package_space(package)
    finally:
        init.write_text(before)


def test_it_is_exported_again(package, tmp_path):
    again = export(package_source(package), tmp_path / "again", formats=("onnx",))
    assert again.manifest.space_source == package.manifest.space_source


def test_a_package_of_somebody_else_imports_nothing(package, folder, monkeypatch, tmp_path):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home of another user"))
    edit(folder, "from torch import nn", "from torch import nn\nopen('imported', 'w')")
    for use in (package_space, rebuild_model, package_source):
        with pytest.raises(PackageError, match=r"was not written here by this user .* --trust"):
            use(package)
    assert "package_spaces" not in sys.modules
    assert not (folder / "imported").exists()
    package.runner("onnx")


def test_a_module_of_the_same_name_elsewhere_is_not_imported(package, folder, monkeypatch, tmp_path):
    """Somebody hands out a folder with a copy of a package of ours, and a module of the name that it has."""
    write_package(tmp_path, "package_spaces")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PackageError, match="was not written here by this user with"):
        package_space(package)
    assert "package_spaces" not in sys.modules


def test_a_trusted_author(package, monkeypatch, tmp_path):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path))
    assert package_space(replace(package, trusted=True)).count() == 4


def test_a_copy_of_the_package_counts_as_the_same(package, tmp_path):
    shutil.copytree(package.path, tmp_path / "copy")
    assert package_space(read_package(tmp_path / "copy")).count() == 4


@pytest.mark.parametrize("name", [PATH, "os:system", "Small"])
def test_a_name_without_a_record_is_not_imported(package, tmp_path, name):
    shutil.copytree(package.path, tmp_path / "copy")
    manifest = json.loads((tmp_path / "copy" / "manifest.json").read_text())
    del manifest["space_source"]
    (tmp_path / "copy" / "manifest.json").write_text(json.dumps(manifest | {"space": name}))
    with pytest.raises(PackageError, match="cannot be rebuilt"):
        rebuild_model(read_package(tmp_path / "copy"))
    assert "package_spaces" not in sys.modules


def test_the_name_and_the_record_are_of_the_same_space(package, tmp_path):
    shutil.copytree(package.path, tmp_path / "copy")
    manifest = json.loads((tmp_path / "copy" / "manifest.json").read_text())
    (tmp_path / "copy" / "manifest.json").write_text(json.dumps(manifest | {"space": "os:system"}))
    with pytest.raises(PackageError, match="space_source is that of"):
        read_package(tmp_path / "copy")


def test_another_folder(package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PackageError, match=r"no module 'package_spaces.spaces'.*Work in the folder.*PYTHONPATH"):
        package_space(package)


@pytest.mark.slow
class TestChangedSource:
    def test_the_same_network_loads_with_a_warning(self, package, folder):
        edit(folder, "Small networks", "Quite small networks")
        with pytest.warns(UserWarning, match=r"the source of package_spaces.spaces:Small was changed.*SHA-256"):
            model = rebuild_model(package)
        assert model(torch.zeros(1, 3, 16, 16)).shape == (1, 10)

    @pytest.mark.filterwarnings("ignore:the source of")
    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("nn.ReLU()", "nn.GELU()"),
            ("4 * width, self", "4 * width, 1 + self"),
            ("nn.Flatten(),", "nn.Flatten(), nn.Linear(4 * width, 4 * width),"),
            ('pick("kernel", (3, 5))', 'pick("kernel", (5, 7))'),
            ('pick("kernel"', 'pick("kernel_size"'),
            ("num_labels: int", "classes: int"),
            ("class Small(", "class Smaller("),
        ],
    )
    def test_another_network_is_refused(self, package, folder, old, new):
        edit(folder, old, new)
        with pytest.raises(PackageError, match=r"changed.*has the SHA-256 \w{12} where it was \w{12}"):
            rebuild_model(package)
