"""`hubserve compare`: tables in, a report out, and what it says about wrong ones."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys

import pytest

from hubserve.cli import comparison
from tests.own_modules import write_package

ROWS = [(a, b, a * 10 + b + (a * b) % 3, a * 10 + b, a * b) for a in range(1, 7) for b in (3, 5, 7)]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "my.csv.gz"
    path.write_bytes(gzip.compress(("a,b,valid,test,ms\n" + "".join(f"{','.join(map(str, row))}\n" for row in ROWS)).encode()))
    return path


def options(table, *more):
    return ("compare", table, "--choices", "a,b", "--drive", "valid", "--judge", "test", "--trials", 8, "--seeds", 3, *more)


def test_any_csv_file(hubserve, table, tmp_path):
    found = hubserve(*options(table, "--out", tmp_path / "out", "--json")).json()
    assert found["strategies"] == ["Random", "RegularizedEvolution"]
    assert found["tables"][0] | {"best": 0} == {
        "name": "my.csv.gz",
        "archs": 18,
        "rows": 18,
        "drive": ["valid"],
        "judge": "test",
        "minimize": None,
        "best": 0,
        "reference": None,
    }
    assert found["warnings"] == []
    assert {row["trials"] for row in found["summary"]} == {8}
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {
        "cells.jsonl",
        "summary.csv",
        "curves.csv",
        "pairs.csv",
        "ranks.csv",
        "times.csv",
        "random.csv",
        "report.md",
    } < names
    assert "regret-my.csv.gz.svg" in names


def test_tables_for_people_and_the_default_folder(hubserve, table, monkeypatch, tmp_path):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    said = hubserve(*options(table, "--at", "2,4")).fine()
    assert "my.csv.gz, 18 archs: regret of test (the best has 67) where valid drives; mean and 95 % interval, 3 seeds" in said
    assert "Random, exact" in said
    assert "paired by seed; Wilcoxon's signed-rank test, p corrected by Holm" in said
    (folder,) = (tmp_path / "home" / "comparisons").iterdir()
    finished = (folder / "cells.jsonl").read_bytes()
    hubserve(*options(table)).fine()
    assert (folder / "cells.jsonl").read_bytes() == finished


def test_two_objectives(hubserve, table):
    found = hubserve(*options(table, "--minimize", "ms", "--reference", "0,worst", "--json")).json()
    assert found["strategies"] == ["Random", "ParetoEvolution"]
    assert found["tables"][0]["reference"] == [0.0, 42.0]
    assert [row["measure"] for row in found["pairs"]] == ["hypervolume", "regret"]


def test_a_strategy_of_ones_own(hubserve, table, monkeypatch, tmp_path):
    monkeypatch.chdir(write_package(tmp_path / "work", "ours"))
    said = hubserve(*options(table, "--strategies", "Random", "--strategies", "ours.searching:Last:step=1", "--json"))
    assert said.json()["strategies"] == ["Random", "ours.searching:Last:step=1"]


def test_published_tables(hubserve, shared):
    folder = shared / "benchmarks"
    found = hubserve(
        *("compare", f"NasBench201={folder / 'nb201.csv'}", f"NasBenchMacro={folder / 'nas-bench-macro_cifar10.json'}"),
        *("--dataset", "cifar10,ImageNet16-120", "--trials", 5, "--seeds", 2, "--strategies", "Random", "--json"),
    ).json()
    assert [table["name"] for table in found["tables"]] == [
        "NasBench201 cifar10",
        "NasBench201 ImageNet16-120",
        "NasBenchMacro",
    ]


def test_an_interrupt_says_how_to_go_on(hubserve, table, monkeypatch, tmp_path):
    def interrupted(*args, on_cell, **options):
        on_cell(1, 6)
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison, "compare", interrupted)
    said = hubserve(*options(table, "--out", tmp_path / "out"))
    assert said.code == 130
    assert said.err == f"stopped; finished searches are in {tmp_path / 'out'}, and the same command goes on\n"


def test_without_matplotlib(hubserve, table, monkeypatch, tmp_path):
    for name in ("hubserve.plot_style", "hubserve.comparison.curve_plots"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    said = hubserve(*options(table, "--out", tmp_path / "out"))
    assert said.code == 0
    assert said.err == "without plots: drawing needs matplotlib: pip install 'hubserve[plots]'\n"
    assert not list((tmp_path / "out").glob("*.svg"))


@pytest.mark.parametrize(
    ("change", "kind", "complaint"),
    [
        ({"--choices": "a,c"}, "EvaluatorError", "has no column 'c'"),
        ({"--judge": "tset"}, "EvaluatorError", "has no column 'tset'. Did you mean test?"),
        ({"--judge": None}, "EvaluatorError", "give --judge: the columns that"),
        ({"--choices": None, "--drive": None}, "EvaluatorError", "give --choices, --drive: the columns that"),
        ({"--choices": "a"}, "EvaluatorError", "are both of the arch a = 1"),
        ({"--strategies": "Rondom"}, "StrategyError", "Did you mean Random?"),
        ({"--at": "x"}, "ExperimentError", "--at x: write numbers"),
        ({"--at": "9"}, "ExperimentError", "after 9 trials of 8"),
        ({"--reference": "1"}, "ExperimentError", "--reference 1: write a score and a cost"),
        ({"--sha256": "0" * 64}, "EvaluatorError", "expected 0000"),
        (
            {"--minimize": "ms", "--strategies": "RegularizedEvolution"},
            "StrategyError",
            "RegularizedEvolution, seed 0, trial 0 on my.csv.gz",
        ),
    ],
)
def test_what_is_wrong_is_said(hubserve, table, change, kind, complaint):
    given = {"--choices": "a,b", "--drive": "valid", "--judge": "test", "--trials": 8, "--seeds": 3} | change
    arguments = [part for option, value in given.items() if value is not None for part in (option, value)]
    assert complaint in hubserve("compare", table, *arguments).refused(kind)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["NasBench301"], "'NasBench301' is neither a CSV file nor a published table. Did you mean NasBench"),
        (["none.csv", "--choices", "a", "--drive", "v", "--judge", "t"], "there is no file none.csv"),
        (["NasBench201"], "NasBench201 needs its file"),
        (["NasBench201=a.csv", "--file", "b.csv"], "names its file, and --file another one"),
        (["NasBench201", "NasBenchMacro", "--file", "b.csv"], "is for a single table; write NAME=FILE"),
        (["NasBenchMacro=a.json", "--choices", "a"], "has the choices of its space"),
    ],
)
def test_tables_that_there_are_not(hubserve, arguments, complaint):
    assert complaint in hubserve("compare", *arguments).refused("EvaluatorError")


@pytest.mark.slow
@pytest.mark.parametrize("executor", [("--workers", 2), ("--ray", "--workers", 1)])
def test_workers_in_a_process_of_its_own(table, tmp_path, executor):
    """With a strategy from the working folder, which worker processes have to find."""
    work = write_package(tmp_path / "work", "ours")
    arguments = [str(part) for part in options(table, "--strategies", "Random,ours.searching:Last", *executor, "--json")]
    run = subprocess.run(
        [sys.executable, "-m", "hubserve", *arguments, "--out", str(tmp_path / "out")],
        cwd=work,
        capture_output=True,
        text=True,
        check=True,
        timeout=250,
    )
    assert json.loads(run.stdout)["strategies"] == ["Random", "ours.searching:Last"]
