"""Tables from CSV and JSON files."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import EvaluatorError
from hubserve.evaluator import Table, read_csv, read_json


def write(path, text):
    path.write_text(text)
    return path


class TestCsv:
    def test_numbers_and_text(self, tmp_path):
        table = read_csv(write(tmp_path / "t.csv", "arch,acc,note\na|b,91.5,x\nc,17,y\n"))
        assert table.rows == {"a|b": {"acc": 91.5, "note": "x"}, "c": {"acc": 17.0, "note": "y"}}
        assert table.columns == ("acc", "note")
        assert len(table) == 2

    def test_another_key(self, tmp_path):
        table = read_csv(write(tmp_path / "t.csv", "index,arch,acc\n0,a,1\n1,b,2\n"), key="index")
        assert table.rows["1"] == {"arch": "b", "acc": 2.0}
        assert table.keyed_by("arch").rows["b"]["acc"] == 2.0

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("arc,acc\na,1\n", "has no column 'arch' to name the archs. Did you mean arc"),
            ("arch,acc\na,1\na,2\n", "two rows have the arch 'a'"),
            ("arch,acc\na,1\nb\n", "row 3 does not have as many fields as the header"),
            ("arch,acc\na,1,5\n", "row 2 does not have as many fields"),
            ("arch,acc,acc\na,1,2\n", "has two columns 'acc'"),
            ("arch,acc\n", "holds no rows"),
        ],
    )
    def test_errors_name_what_is_wrong(self, tmp_path, text, complaint):
        with pytest.raises(EvaluatorError, match=rf"t\.csv.*{complaint}"):
            read_csv(write(tmp_path / "t.csv", text))

    def test_no_file(self, tmp_path):
        with pytest.raises(EvaluatorError, match=r"t\.csv is no CSV file that can be read: .*No such file"):
            read_csv(tmp_path / "t.csv")


class TestJson:
    def test_an_object_of_rows(self, tmp_path):
        table = read_json(write(tmp_path / "t.json", '{"01": {"acc": [90, 91.0], "params": 7}}'))
        assert table.rows == {"01": {"acc": (90.0, 91.0), "params": 7.0}}

    def test_a_list_of_rows(self, tmp_path):
        assert read_json(write(tmp_path / "t.json", '[{"id": 3, "acc": 1}]'), key="id").rows == {"3": {"acc": 1.0}}

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("[", "is no JSON file"),
            ("3", "is neither an object of rows by arch nor a list"),
            ("[1]", "is neither"),
            ('{"a": 1}', "is neither"),
            ('[{"acc": 1}]', "has no column 'arch'"),
            ("{}", "holds no rows"),
            ('{"a": {"acc": 1}, "a": {"acc": 2}}', "'a' stands twice in one object"),
            ('{"a": {"acc": 1, "acc": 2}}', "'acc' stands twice in one object"),
            ('[{"arch": "a"}, {"arch": "a"}]', "two rows have the arch 'a'"),
            ("[" * 100_000, "is no JSON file"),
        ],
    )
    def test_errors_name_what_is_wrong(self, tmp_path, text, complaint):
        with pytest.raises(EvaluatorError, match=complaint):
            read_json(write(tmp_path / "t.json", text))

    def test_written_and_read_again(self, tmp_path):
        table = Table("made", {"a": {"acc": (1.0, 2.0), "note": "x"}})
        table.write_json(tmp_path / "t.json")
        assert read_json(tmp_path / "t.json").rows == table.rows
        assert json.loads((tmp_path / "t.json").read_text()) == {"a": {"acc": [1.0, 2.0], "note": "x"}}


VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
ROWS = st.dictionaries(st.text(max_size=5), st.one_of(VALUES, st.lists(VALUES, max_size=3)), max_size=4)
TEXTS = st.one_of(st.binary(max_size=60), st.text("arch,\"'\n\r0123\x00é", max_size=60).map(str.encode))


class TestAnything:
    """Any file gives a table, or an EvaluatorError."""

    @pytest.fixture(scope="class")
    def path(self, tmp_path_factory):
        return tmp_path_factory.mktemp("tables") / "t"

    @given(data=TEXTS)
    def test_csv(self, path, data):
        path.write_bytes(data)
        with contextlib.suppress(EvaluatorError):
            assert len(read_csv(path))

    @given(data=st.one_of(TEXTS, st.one_of(ROWS, st.lists(ROWS)).map(lambda rows: json.dumps(rows).encode())))
    def test_json(self, path, data):
        path.write_bytes(data)
        with contextlib.suppress(EvaluatorError):
            assert len(read_json(path))

    @given(
        rows=st.dictionaries(st.text(max_size=5), st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False)), min_size=1)
    )
    def test_what_is_written_is_read(self, path, rows):
        Table("made", rows).write_json(path)
        assert read_json(path).rows == rows


class TestJoin:
    def test_columns_of_both(self):
        joined = Table("accs", {"a": {"acc": 1.0}}).joined(Table("times", {"a": {"ms": 2.0}, "b": {"ms": 3.0}}))
        assert joined.rows == {"a": {"acc": 1.0, "ms": 2.0}}
        assert joined.source == "accs with times"

    def test_errors_name_what_is_wrong(self):
        accs = Table("accs", {"a": {"acc": 1.0}})
        with pytest.raises(EvaluatorError, match="accs and accs both have the columns acc"):
            accs.joined(accs)
        with pytest.raises(EvaluatorError, match="times has no row 'a', which accs has; do both use the same keys"):
            accs.joined(Table("times", {"b": {"ms": 3.0}}))
        with pytest.raises(EvaluatorError, match=r"accs has no column 'ac'. Did you mean acc\?"):
            accs.keyed_by("ac")
        with pytest.raises(EvaluatorError, match="row 'b' has no 'acc', which the first row has"):
            Table("accs", {"a": {"acc": 1.0}, "b": {}}).column("acc")
