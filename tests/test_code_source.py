"""The record of where code of one's own comes from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hubserve.code_source import CodeSource, import_path_of, source_of_code

from .own_modules import write_distribution, write_package


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_package(tmp_path, "recorded")


class TestSourceOfCode:
    def test_of_the_working_folder(self, folder):
        own, package = (
            hashlib.sha256((folder / "recorded" / name).read_bytes()).hexdigest() for name in ("spaces.py", "__init__.py")
        )
        assert source_of_code("recorded.spaces:Small") == CodeSource(
            import_path="recorded.spaces:Small", sha256=own, modules={"recorded": package}
        )

    def test_of_a_distribution(self, folder, monkeypatch):
        write_distribution(folder, "recorded", "1.5", "")
        monkeypatch.syspath_prepend(folder)
        found = source_of_code("recorded.spaces:Small")
        assert (found.distribution, found.version, found.modules) == ("recorded", "1.5", {})

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

    def test_a_module_that_it_imports(self, folder):
        package = folder / "recorded"
        (package / "blocks.py").write_text("WIDTH = 8\n")
        file = package / "spaces.py"
        file.write_text("from . import blocks\n" + file.read_text())
        before = source_of_code("recorded.spaces:Small")
        assert list(before.modules) == ["recorded", "recorded.blocks"]
        assert before.change(file) is None
        (package / "blocks.py").write_text("WIDTH = 16\n")
        assert before.change(file).startswith(f"{package / 'blocks.py'} has the SHA-256 ")
        (package / "blocks.py").unlink()
        assert before.change(file) == "the module recorded.blocks is missing"
        file.write_text("# other\n")
        assert before.change(file).endswith("; the module recorded.blocks is missing")

    def test_a_record_of_an_earlier_version_has_no_modules(self, folder):
        """It compares the one module, and is written as it was read."""
        file = folder / "recorded" / "spaces.py"
        old = {"import_path": "recorded.spaces:Small", "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        read = CodeSource.model_validate(old)
        assert read.change(file) is None
        assert read.model_dump(exclude_none=True) == old


class TestImportPathOf:
    def test_a_class(self):
        assert import_path_of(CodeSource) == "hubserve.code_source:CodeSource"
        assert import_path_of(TestImportPathOf) == f"{__name__}:TestImportPathOf"

    def test_what_cannot_be_imported(self):
        class Local:
            pass

        assert import_path_of(Local) is None
        assert import_path_of(lambda: 0) is None
