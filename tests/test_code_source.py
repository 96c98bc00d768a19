"""The record of where code of one's own comes from."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from hubserve import code_source
from hubserve.code_source import CodeSource, import_path_of, locate_module, source_of_code

from .own_modules import write_distribution, write_package


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
        assert locate_module("hubserve.code_source") == Path(code_source.__file__)

    @pytest.mark.parametrize("name", ["recorded.other", "no_such_module", "no.such.module", "sys", "recorded.spaces.x"])
    def test_none(self, folder, name):
        assert locate_module(name) is None


class TestSourceOfCode:
    def test_of_the_working_folder(self, folder):
        text = (folder / "recorded" / "spaces.py").read_bytes()
        assert source_of_code("recorded.spaces:Small") == CodeSource(
            import_path="recorded.spaces:Small", sha256=hashlib.sha256(text).hexdigest()
        )

    def test_of_a_distribution(self, folder, monkeypatch):
        write_distribution(folder, "recorded", "1.5", "")
        monkeypatch.syspath_prepend(folder)
        found = source_of_code("recorded.spaces:Small")
        assert (found.distribution, found.version) == ("recorded", "1.5")

    def test_a_distribution_elsewhere_is_another(self, folder, tmp_path, monkeypatch):
        other = write_package(tmp_path / "site", "recorded")
        write_distribution(other, "recorded", "1.5", "")
        monkeypatch.syspath_prepend(other)
        assert source_of_code("recorded.spaces:Small").distribution is None

    def test_of_no_file(self):
        assert source_of_code("sys:exit") is None


class TestChange:
    def test_none(self, folder):
        assert source_of_code("recorded.spaces:Small").change(folder / "recorded" / "spaces.py") is None

    def test_it_is_named(self, folder):
        before, file = source_of_code("recorded.spaces:Small"), folder / "recorded" / "spaces.py"
        file.write_text("# other\n")
        assert before.sha256[:12] in before.change(file)
        assert str(file) in before.change(file)


class TestImportPathOf:
    def test_a_class(self):
        assert import_path_of(CodeSource) == "hubserve.code_source:CodeSource"
        assert import_path_of(TestImportPathOf) == f"{__name__}:TestImportPathOf"

    def test_what_cannot_be_imported(self):
        class Local:
            pass

        assert import_path_of(Local) is None
        assert import_path_of(lambda: 0) is None
