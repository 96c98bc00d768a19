"""Any CSV file as a table: its space, its scores, and what is wrong with a file that is none."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.comparison import Scores, read_scored_csv
from hubserve.errors import EvaluatorError

TEXT = "kernel,act,valid,test,ms\n3,relu,1.5,2,7\n5,relu,2.5,3,9\n3,gelu,0.5,1,8\n"
SCORES = Scores(("valid",), "test", "ms")


def write(path, text):
    path.write_text(text)
    return path


class TestSpace:
    def test_is_the_product_of_the_values(self, tmp_path):
        table = read_scored_csv(write(tmp_path / "t.csv", TEXT), ["kernel", "act"], SCORES)
        assert {label: choice.candidates for label, choice in table.space.choices.items()} == {
            "kernel": (3, 5),
            "act": ("gelu", "relu"),
        }
        assert (table.space.grid_size, len(table), table.name) == (4, 3, "t.csv")
        assert table.row({"kernel": 5, "act": "relu"}) == 1
        assert table.row({"kernel": 5, "act": "gelu"}) == -1
        assert table.drive.tolist() == [[1.5, 2.5, 0.5]]
        assert table.judge.tolist() == [2, 3, 1]
        assert table.cost is not None
        assert table.cost.tolist() == [7, 9, 8]

    def test_compressed_and_with_a_byte_order_mark(self, tmp_path):
        (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + TEXT.encode()))
        packed = read_scored_csv(tmp_path / "t.csv.gz", ["kernel", "act"], SCORES, name="t.csv")
        plain = read_scored_csv(write(tmp_path / "t.csv", TEXT), ["kernel", "act"], SCORES)
        assert packed.fingerprint == plain.fingerprint

    @pytest.mark.parametrize(
        ("values", "candidates"),
        [
            (["10", "9", "-1"], (-1, 9, 10)),
            (["0.5", "1", "2e1"], (0.5, 1.0, 20.0)),
            (["01", "1", "2"], (1.0, 2.0)),
            (["3x3", "1", "2"], ("1", "2", "3x3")),
            (["nan", "1", "2"], ("1", "2", "nan")),
            ([" a", "b ", "c"], ("a", "b", "c")),
            (["True", "False", "None"], ("False", "None", "True")),
        ],
    )
    def test_values_are_numbers_where_all_are(self, tmp_path, values, candidates):
        lines = "".join(f"{value},{i},1,1\n" for i, value in enumerate(values))
        table = read_scored_csv(write(tmp_path / "t.csv", "a,b,v,t\n" + lines), ["a", "b"], Scores(("v",), "t"))
        assert table.space.choices["a"].candidates == candidates

    def test_several_driving_columns_are_runs(self, tmp_path):
        file = write(tmp_path / "t.csv", "a,v1,v2,t\n1,1,5,0\n2,3,4,0\n")
        table = read_scored_csv(file, ["a"], Scores(("v1", "v2"), "t"))
        assert table.drive.tolist() == [[1, 3], [5, 4]]
        assert [table.run_of(seed) for seed in range(4)] == [0, 1, 0, 1]

    def test_the_fingerprint_depends_on_every_score(self, tmp_path):
        first = read_scored_csv(write(tmp_path / "t.csv", TEXT), ["kernel", "act"], SCORES)
        other = read_scored_csv(write(tmp_path / "t.csv", TEXT.replace("9", "9.1")), ["kernel", "act"], SCORES)
        assert first.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("text", "choices", "scores", "complaint"),
    [
        (TEXT, ["kernl"], SCORES, r"has no column 'kernl'. Did you mean kernel\?"),
        (TEXT, [], SCORES, "name the columns that describe an arch"),
        (TEXT, ["kernel", "act"], Scores(("vaild",), "test"), r"has no column 'vaild'. Did you mean valid\?"),
        (TEXT, ["kernel", "act"], Scores(("valid",), "tset"), r"has no column 'tset'. Did you mean test\?"),
        (TEXT, ["kernel", "act"], Scores(("valid",), "test", "sm"), "has no column 'sm'"),
        (TEXT, ["kernel", "kernel"], SCORES, "column 'kernel' is named twice"),
        (TEXT, ["kernel", "ms"], SCORES, "column 'ms' is named twice; a choice is no score"),
        (TEXT, ["kernel", "act"], Scores(("valid", "valid"), "test"), "driving columns valid, valid must differ"),
        (TEXT, ["kernel", "act"], Scores(("valid",), "test", "valid"), "must differ, and from the one to minimize"),
        (TEXT, ["kernel"], SCORES, "rows 2 and 4 are both of the arch kernel = 3"),
        (TEXT.replace("5,relu", ",relu"), ["kernel", "act"], SCORES, "row 3 has no value in the column 'kernel'"),
        (TEXT.replace("2.5", ""), ["kernel", "act"], SCORES, "row 3 is empty in the column 'valid', where a number"),
        (TEXT.replace("2.5", "x"), ["kernel", "act"], SCORES, "row 3 is 'x' in the column 'valid'"),
        (TEXT.replace("2.5", "nan"), ["kernel", "act"], SCORES, "row 3 is 'nan' in the column 'valid'"),
        (TEXT.replace("2.5", "inf"), ["kernel", "act"], SCORES, "row 3 is 'inf' in the column 'valid'"),
        (TEXT + "7,relu\n", ["kernel", "act"], SCORES, "row 5 does not have as many fields"),
        ("a,v,t\n1,2,3\n", ["a"], Scores(("v",), "t"), "every row has the same values of a: there is nothing to search"),
        ("a,v,t\n", ["a"], Scores(("v",), "t"), "holds no rows"),
        ("", ["a"], Scores(("v",), "t"), "holds no rows"),
        ("a,a,v,t\n1,1,2,3\n", ["a"], Scores(("v",), "t"), "has two columns 'a'"),
    ],
)
def test_errors_name_what_is_wrong(tmp_path, text, choices, scores, complaint):
    with pytest.raises(EvaluatorError, match=rf"t\.csv.*{complaint}"):
        read_scored_csv(write(tmp_path / "t.csv", text), choices, scores)


@pytest.mark.parametrize("data", [b"\x1f\x8bnonsense", gzip.compress(TEXT.encode(), mtime=0)[:40], b"a,v,t\n\xff,1,2\n"])
def test_files_that_cannot_be_read(tmp_path, data):
    (tmp_path / "t.csv.gz").write_bytes(data)
    with pytest.raises(EvaluatorError, match=r"t\.csv\.gz is no CSV file that can be read"):
        read_scored_csv(tmp_path / "t.csv.gz", ["a"], Scores(("v",), "t"))


VALUES = st.one_of(
    st.integers(-99, 99).map(str), st.floats(allow_nan=False, width=16).map(str), st.text(",\"'\n\r é0a1.e-", max_size=4)
)
ROWS = st.lists(st.tuples(VALUES, VALUES, VALUES, VALUES), max_size=6)
FILES = st.one_of(st.binary(max_size=60), st.text("abvt,\"'\n\r0123.e-", max_size=80).map(str.encode))


class TestAnything:
    """Any file gives a table in which each row is found, or an EvaluatorError."""

    @pytest.fixture(scope="class")
    def path(self, tmp_path_factory):
        return tmp_path_factory.mktemp("tables") / "t.csv"

    @given(data=FILES, compressed=st.booleans())
    def test_bytes(self, path, data, compressed):
        path.write_bytes(gzip.compress(data) if compressed else data)
        with contextlib.suppress(EvaluatorError):
            self._check(read_scored_csv(path, ["a", "b"], Scores(("v",), "t")))

    @given(rows=ROWS)
    def test_rows(self, path, rows):
        text = io.StringIO()
        csv.writer(text).writerows([("a", "b", "v", "t"), *rows])
        path.write_bytes(text.getvalue().encode())
        with contextlib.suppress(EvaluatorError):
            table = read_scored_csv(path, ["a", "b"], Scores(("v",), "t"))
            self._check(table)
            assert len(table) == len(rows)
            assert table.judge.tolist() == [float(row[3]) for row in rows]

    def _check(self, table):
        labels = list(table.space.choices)
        for key, row in table.rows.items():
            assert table.row(dict(zip(labels, key, strict=True))) == row
        assert np.isfinite(table.drive).all()
        found = [table.row(table.space.grid_arch(i)) for i in range(min(200, table.space.grid_size))]
        if table.space.grid_size <= 200:
            assert sorted(row for row in found if row >= 0) == list(range(len(table)))
