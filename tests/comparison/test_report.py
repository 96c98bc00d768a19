"""What a comparison writes: CSV files that can be read back, a page in Markdown, and plots."""

from __future__ import annotations

import csv
import re

import pytest

from hubserve.comparison import compare, summary_frame
from hubserve.comparison.curve_plots import draw_curves
from hubserve.comparison.report import FRAMES, write_report
from hubserve.comparison.report_pages import report_pages
from tests.comparison.tables import product_table


@pytest.fixture(scope="module")
def found():
    tables = [product_table("first | one", minimize="ms"), product_table("second", seed=1, minimize="ms")]
    return compare(tables, ["Random", "NSGA2:population_size=4"], trials=12, seeds=3)


def test_files_can_be_read_back(found, tmp_path):
    files = write_report(found, tmp_path / "out")
    assert [file.name for file in files] == [*(f"{name}.csv" for name in FRAMES), "report.md"]
    with (tmp_path / "out" / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = summary_frame(found).records()
    assert len(rows) == len(expected)
    for row, other in zip(rows, expected, strict=True):
        assert row["strategy"] == other["strategy"]
        assert float(row["mean"]) == other["mean"]
        assert (row["low"] == "") == (other["low"] is None)


def test_the_page_shows_tables_and_plots(found, tmp_path):
    plots = draw_curves(found, tmp_path)
    assert [plot.name for plot in plots] == [
        "hypervolume-first-one.svg",
        "regret-first-one.svg",
        "hypervolume-second.svg",
        "regret-second.svg",
    ]
    write_report(found, tmp_path, plots=plots, command="hubserve compare t.csv")
    page = (tmp_path / "report.md").read_text()
    assert page.startswith("# How the strategies compare\n\n```\nhubserve compare t.csv\n```\n")
    assert re.findall(r"\]\((.*?\.svg)\)", page) == [plot.name for plot in plots]
    assert "12 trials of each search, 3 seeds (0 to 2)." in page
    for line in page.splitlines():
        if line.startswith("| "):
            assert len(re.findall(r"(?<!\\)\|", line)) >= 4


def test_plots_are_the_same_each_time(found, tmp_path):
    first, second = draw_curves(found, tmp_path / "a"), draw_curves(found, tmp_path / "b")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert b"NSGA2:population_size=4" in one.read_bytes()


def test_the_best_comes_first(found):
    for page in report_pages(found):
        if page.columns[0] == "strategy":
            ranks = [float(row[-2]) for row in page.rows if row[-2] and "mean rank" in page.columns]
            assert ranks == sorted(ranks)
            assert all(len(row) == len(page.columns) for row in page.rows)


def test_ranks_over_all_tables_come_last(found):
    last = list(report_pages(found))[-2:]
    measures = ("hypervolume", "regret")
    assert [page.title for page in last] == [f"Mean rank by {name} over 2 tables; 1 is the best" for name in measures]
    assert sum(float(row[-1]) for row in last[0].rows) == pytest.approx(3)


def test_one_seed_and_one_strategy(tmp_path):
    found = compare(product_table(), ["Random"], trials=3, seeds=1)
    write_report(found, tmp_path, plots=draw_curves(found, tmp_path))
    (page,) = report_pages(found)
    assert [row[0] for row in page.rows] == ["Random, exact", "Random"]
    assert "±" not in "".join(page.rows[1])
