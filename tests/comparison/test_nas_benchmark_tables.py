"""The published tables: which columns drive and judge, which run a seed sees, and files that are not what they should be."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from hubserve.benchmarks.arch_keys import digits_key
from hubserve.benchmarks.score_table import Table
from hubserve.comparison import compare, named_table, summary_frame
from hubserve.comparison.nas_benchmark_tables import MACRO_SHA256, TableOptions
from hubserve.comparison.table_files import table_file
from hubserve.errors import EvaluatorError
from hubserve.hub import NasBench101, NasBench201
from hubserve.hub.nasbench201 import from_arch_string

CELLS = (
    "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|",
    "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
)


@pytest.fixture(scope="module")
def small(shared):
    return TableOptions(str(shared / "benchmarks" / "nb201.csv"))


class TestNasBench201:
    @pytest.mark.parametrize(("dataset", "best"), [("cifar10", 89.16), ("cifar100", 61.18), ("ImageNet16-120", 38.2667)])
    def test_the_small_table(self, small, dataset, best):
        table = named_table("NasBench201", replace(small, dataset=dataset))
        assert (len(table), table.space.grid_size) == (15_625, 15_625)
        assert table.best_judge == pytest.approx(best, abs=0.01)
        assert table.name == f"NasBench201 {dataset}"

    def test_every_arch_has_its_row(self, small):
        table = named_table("NasBench201", small)
        assert sorted(table.row(table.space.grid_arch(i)) for i in range(15_625)) == list(range(15_625))

    def test_latencies_from_a_second_file(self, small, shared):
        joined = replace(small, join=shared / "benchmarks" / "nb201_latency.csv", minimize="gold_6226")
        table = named_table("NasBench201", joined)
        assert table.cost is not None
        assert (table.cost.min(), table.scores.directions) == (2.6647, ["maximize", "minimize"])

    def test_the_official_columns(self, tmp_path):
        rows = {
            cell: {
                "cifar100/x-valid@12": (30.0 + i,),
                "cifar100/x-test@12": (40.0 + i,),
                "cifar100/x-valid@200": (60.0 + i, 62.0 + i, 61.0 + i),
                "cifar100/x-test@200": (70.0 + i, 72.0 + i),
                "cifar10-valid/x-valid@12": (80.0 + i,),
                "cifar10/ori-test@12": (81.0 + i,),
            }
            for i, cell in enumerate(CELLS)
        }
        Table("made", rows).write_json(tmp_path / "t.json")
        options = TableOptions(str(tmp_path / "t.json"))
        table = named_table("NasBench201", options)
        assert (table.drive.tolist(), table.judge.tolist()) == ([[30, 31]], [40, 41])
        assert table.row(from_arch_string(CELLS[1])) == 1
        long = named_table("NasBench201", replace(options, epochs=200))
        assert (long.drive[:, 0].tolist(), long.judge.tolist()) == ([60, 62, 61], [71, 72])
        assert [long.run_of(seed) for seed in (0, 1, 2, 3)] == [0, 1, 2, 0]
        first = named_table("NasBench201", replace(options, dataset="CIFAR10"))
        assert (first.drive.tolist(), first.judge.tolist()) == ([[80, 81]], [81, 82])

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"dataset": "mnist"}, "no data set 'mnist'"),
            ({"epochs": 200}, "no column 'c100_val_200ep'"),
            ({"drive": ("c100",)}, "no column 'c100'"),
            ({"minimize": "gold_6226"}, "no column 'gold_6226'"),
            ({"file": None}, "NasBench201 needs its file: NAS-Bench-201-v1_1-096897.pth"),
            ({"file": "none.csv"}, r"there is no file none\.csv"),
            ({"sha256": "0" * 64}, "another file"),
            ({"sha256": "xyz"}, "'xyz' is no SHA-256"),
            ({"file": "https://example.org/nb201.csv"}, "only together with the SHA-256"),
        ],
    )
    def test_errors_name_what_is_wrong(self, small, change, complaint):
        with pytest.raises(EvaluatorError, match=complaint):
            named_table("NasBench201", replace(small, **change))


class TestNasBenchMacro:
    def test_a_run_drives_and_the_mean_judges(self, shared):
        path = shared / "benchmarks" / "nas-bench-macro_cifar10.json"
        table = named_table("NasBenchMacro", TableOptions(str(path), MACRO_SHA256))
        assert (len(table), table.space.grid_size, table.drive.shape) == (6561, 6561, (3, 6561))
        assert table.best_judge == pytest.approx(93.1267, abs=1e-4)
        data = json.loads(path.read_text())
        arch = table.space.grid_arch(1234)
        row = data[digits_key(table.space, arch)]
        assert table.drive[:, table.row(arch)].tolist() == row["test_acc"]
        assert table.judge[table.row(arch)] == row["mean_acc"]

    def test_random_is_where_it_should_be(self, shared):
        table = named_table("NasBenchMacro", TableOptions(str(shared / "benchmarks" / "nas-bench-macro_cifar10.json")))
        found = compare(table, ["Random"], trials=25, seeds=60)
        assert found.warnings == []
        exact = [row["mean"] for row in summary_frame(found).records() if row["strategy"] == "Random, exact"]
        assert exact[-1] == pytest.approx(0.5, abs=0.03)  # The mean drove there: 0.50.


def test_nasbench101(tmp_path):
    space = NasBench101()
    archs = [space.random() for _ in range(3)]
    rows = {space.cell_hash(arch): {"val_108": (90.0, 91.0, 92.0), "test_108": (89.0, 90.0, 91.0)} for arch in archs}
    Table("made", rows).write_json(tmp_path / "t.json")
    table = named_table("NasBench101", TableOptions(str(tmp_path / "t.json")))
    assert isinstance(table.space, NasBench101)
    assert [table.drive[table.run_of(seed), table.row(archs[0])] for seed in (0, 1, 2)] == [90, 91, 92]
    assert table.judge.tolist() == [90] * len(rows)
    found = compare(table, ["Random"], trials=5, seeds=1)
    assert (found.results[0].closed_form, found.warnings) == (None, [])


def test_an_unknown_table():
    with pytest.raises(EvaluatorError, match=r"there is no table 'NasBench'. Did you mean"):
        named_table("NasBench", TableOptions())


def test_a_file_is_downloaded_once(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path))
    content = b"a,b\n1,2\n"
    digest = hashlib.sha256(content).hexdigest()
    kept = tmp_path / "benchmarks" / f"{digest[:8]}-t.csv"
    kept.parent.mkdir()
    kept.write_bytes(content)
    assert table_file("https://example.org/t.csv?x=1", digest.upper()) == kept
    monkeypatch.setenv("HUBSERVE_OFFLINE", "1")
    with pytest.raises(EvaluatorError, match="is not on this machine, and HUBSERVE_OFFLINE is set"):
        table_file("https://example.org/t.csv", "0" * 64)


def test_the_space_of_201_is_ours(small):
    assert isinstance(named_table("NasBench201", small).space, NasBench201)
