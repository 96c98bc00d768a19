"""Finding the files of modules, and of those that they import, from their sources alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hubserve import module_files
from hubserve.module_files import imported_modules, locate_module

from .own_modules import write_package


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_package(tmp_path, "recorded")


class TestLocateModule:
    def test_in_the_working_folder(self, folder):
        assert locate_module("recorded.spaces") == folder / "recorded" / "spaces.py"
        assert locate_module("recorded") == folder / "recorded" / "__init__.py"

    def test_nothing_is_imported(self, folder):
        (folder / "recorded" / "__init__.py").write_text("1 / 0")
        assert locate_module("recorded.spaces") is not None
        assert "recorded" not in sys.modules

    def test_an_installed_one(self):
        assert locate_module("hubserve.module_files") == Path(module_files.__file__)

    @pytest.mark.parametrize("name", ["recorded.other", "no_such_module", "no.such.module", "sys", "recorded.spaces.x"])
    def test_none(self, folder, name):
        assert locate_module(name) is None


SOURCES = {
    "__init__.py": "1 / 0  # No code is run.",
    "spaces.py": "import torch, os.path\nfrom hubserve.space import ModelSpace\nfrom mine.blocks import conv\n",
    "blocks.py": "from . import norms, no_module\ndef conv():\n    from .deep.layers import conv\n    import mine.late\n",
    "norms.py": "from ..outside import x\nfrom . import blocks\n",  # One import leaves the package; one is a cycle.
    "late.py": "this is no Python",
    "unused.py": "",
    "deep/__init__.py": "from .. import above",
    "deep/layers.py": "from ..far import *\nfrom .near import a",
    "deep/near.py": "",
    "above.py": "",
    "far.py": "",
    "far/readme.py": "",
}


class TestImportedModules:
    @pytest.fixture
    def package(self, tmp_path, monkeypatch) -> Path:
        monkeypatch.chdir(tmp_path)
        for name, text in SOURCES.items():
            path = tmp_path / "mine" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "mine"

    def test_directly_and_through_others(self, package):
        assert imported_modules("mine.spaces") == {
            "mine": package / "__init__.py",
            "mine.above": package / "above.py",
            "mine.blocks": package / "blocks.py",
            "mine.deep": package / "deep" / "__init__.py",
            "mine.deep.layers": package / "deep" / "layers.py",
            "mine.deep.near": package / "deep" / "near.py",
            "mine.far": package / "far.py",
            "mine.late": package / "late.py",
            "mine.norms": package / "norms.py",
        }
        assert "mine" not in sys.modules

    def test_of_a_module_alone(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "alone.py").write_text("import os\nfrom . import x\n")
        assert imported_modules("alone") == {}

    def test_of_no_module(self):
        assert imported_modules("no_such_module") == {}
