"""Names of spaces, strategies, data sets and evaluators: built in, of entry points, or import paths."""

from __future__ import annotations

import itertools
import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import SpaceError
from hubserve.find_named import NamedKind, entry_point_names, find_named, import_folder, importing_from, is_import_path

from .own_modules import write_distribution

KIND = NamedKind("hubserve.tests", "no number is called", SpaceError, lambda x: None if isinstance(x, int) else "is no number")
KNOWN = {"one": 1, "two": 2}
COUNT = itertools.count()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module into the working folder and returns its name, which no other test uses."""
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.chdir(tmp_path)

    def write(text: str, folder=tmp_path) -> str:
        name = f"own_module_{next(COUNT)}"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(text)
        return name

    return write


def find(name: str, **options: object) -> object:
    return find_named(name, KNOWN, KIND, **options)


class TestFindNamed:
    def test_what_is_built_in(self):
        assert find("two") == 2
        assert find("two", refused="no") == 2

    def test_an_import_path(self, module):
        assert find(f"{module('three = 3')}:three") == 3

    def test_an_attribute_of_an_attribute(self, module):
        assert find(f"{module('class A:  four = 4')}:A.four") == 4

    def test_what_is_unknown(self):
        with pytest.raises(SpaceError, match=r"^no number is called 'twoo'. Did you mean two\?$"):
            find("twoo")

    def test_a_dot_in_place_of_the_colon(self):
        with pytest.raises(SpaceError, match=r"An import path has a colon: mypkg.spaces:Small\.$"):
            find("mypkg.spaces.Small")

    def test_a_missing_module(self, module):
        name = module("three = 3")
        with pytest.raises(SpaceError, match=rf"there is no module '{name}x', neither in .* Did you mean {name}"):
            find(f"{name}x:three")

    def test_a_missing_module_in_a_package(self):
        with pytest.raises(SpaceError, match=r"no module 'hubserve.errorss'.* Did you mean hubserve.errors"):
            find("hubserve.errorss:three")

    def test_a_missing_attribute(self, module):
        with pytest.raises(SpaceError, match=r"has no 'thre'. Did you mean three\?"):
            find(f"{module('three = 3')}:thre")

    def test_another_kind(self, module):
        with pytest.raises(SpaceError, match=":three is no number"):
            find(f"{module('three = str()')}:three")

    @pytest.mark.parametrize("text", ["1 / 0", "import sys; sys.exit(3)", "raise KeyError('x')"])
    def test_a_module_that_raises(self, module, text):
        with pytest.raises(SpaceError, match=r"importing own_module_\d+ raised \w+.*own_module_\d+.py, line 2\)"):
            find(f"{module(chr(10) + text)}:three")

    def test_a_syntax_error(self, module):
        with pytest.raises(SpaceError, match=r"raised SyntaxError: .*line 1"):
            find(f"{module('def')}:three")

    def test_a_module_that_imports_a_missing_one(self, module):
        with pytest.raises(SpaceError, match="imports no_such_library, which is not installed"):
            find(f"{module('import no_such_library')}:three")

    def test_what_is_refused_is_not_imported(self, module, tmp_path):
        name = module("open('imported', 'w')")
        with pytest.raises(SpaceError, match=f"{name}:three: not here"):
            find(f"{name}:three", refused="not here")
        assert not (tmp_path / "imported").exists()

    def test_processes_that_are_started_later_find_the_module(self, module, tmp_path):
        find(f"{module('three = 3')}:three")
        assert os.environ["PYTHONPATH"].split(os.pathsep)[0] == str(tmp_path)


class TestImportingFrom:
    def test_the_folder_comes_before_the_working_folder(self, module, tmp_path):
        name = module("three = 3")
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / f"{name}.py").write_text("three = 33")
        with importing_from(tmp_path / "other"):
            assert find(f"{name}:three") == 33
        assert import_folder() == tmp_path


class TestEntryPoints:
    @pytest.fixture
    def installed(self, module, tmp_path, monkeypatch):
        folder = tmp_path / "site"
        name = module("three = 3\nfour = ''", folder=folder)
        lines = f"[hubserve.tests]\nthree = {name}:three\nwrong = {name}:four\nodd = {name}\n"
        write_distribution(folder, name, "1.5", lines)
        monkeypatch.syspath_prepend(folder)
        return name

    def test_its_object(self, installed):
        assert find("three") == 3

    def test_their_names(self, installed):
        assert entry_point_names(KIND) == ["odd", "three", "wrong"]

    def test_they_are_among_the_near_names(self, installed):
        with pytest.raises(SpaceError, match=r"Did you mean three\?"):
            find("thre")

    def test_another_kind(self, installed):
        with pytest.raises(SpaceError, match="wrong is no number"):
            find("wrong")

    def test_one_that_is_no_import_path(self, installed):
        with pytest.raises(SpaceError, match=r"odd is an entry point of the group hubserve.tests with 'own_module"):
            find("odd")

    def test_it_may_be_refused(self, installed):
        with pytest.raises(SpaceError, match="three: not here"):
            find("three", refused="not here")
        assert installed not in sys.modules


@given(st.text(max_size=20))
def test_any_text_is_a_name_or_an_error(name):
    """Nothing else is imported: a text with other characters is no import path."""
    if name not in KNOWN and not is_import_path(name):
        with pytest.raises(SpaceError):
            find(name)


@given(
    st.from_regex(
        r"[A-Za-z_]\w{0,5}(\.[A-Za-z_]\w{0,5}){0,2}:[A-Za-z_]\w{0,5}", fullmatch=True, alphabet=st.characters(max_codepoint=127)
    )
)
def test_import_paths(path):
    assert is_import_path(path)
    assert not is_import_path(f"{path}:x")
    assert not is_import_path(f"/{path}")
