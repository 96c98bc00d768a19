"""The page of a report: well formed, whole in itself, and nothing of a model's name is taken for markup."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import pytest

from hubserve.latency.html_report import render_page
from hubserve.latency.profile_package import profile_package
from hubserve.latency.svg_chart import bar_chart, line_chart
from hubserve.timing import TimingProtocol


def tree(page):
    return ET.fromstring(page.removeprefix("<!doctype html>"))


def test_holds_the_numbers(report):
    page = render_page(report)
    root = tree(page)
    cells = ["".join(cell.itertext()) for cell in root.iter("td")]
    for found in report.formats:
        assert found.format in cells
        assert f"{found.images_per_second:.1f}" in cells
    missing = [p for found in report.formats for p in found.percentiles if p.value is None]
    assert all(f"n/a (needs {p.needs})" in cells for p in missing)
    charts = [element for element in root.iter() if element.tag.endswith("svg")]
    assert len(charts) == 3 + len(report.operators) + 1
    assert f"{report.cost.params:,}" in cells


def test_fetches_nothing(report):
    page = render_page(report)
    assert not re.search(r"(src|href)\s*=|@import|url\(|<script", page)
    assert set(re.findall(r"https?://[^'\" ]+", page)) <= {"http://www.w3.org/2000/svg"}


def test_names_are_no_markup(report):
    document = json.loads(report.model_dump_json())
    document["model"] = "<img src=x onerror=alert(1)>&"
    document["left_out"] = {"onnx-fp16": "<b>no</b>"}
    root = tree(render_page(type(report).model_validate(document)))
    assert root.find("head/title").text == "Latency of <img src=x onerror=alert(1)>&"
    assert not list(root.iter("img"))
    assert not list(root.iter("b"))


def test_a_report_without_details():
    from hubserve.latency.profile_package import NOTHING
    from tests.stores import tiny_package

    found = profile_package(tiny_package(), protocol=TimingProtocol(percent=50, max_seconds=0.1), details=NOTHING)
    page = render_page(found)
    assert "Time of each operation" not in page
    assert "n/a (needs 662)" in page
    tree(page)


class TestCharts:
    def test_points_lie_where_they_should(self):
        """The highest of 0..100 is at the top, each doubling as far from the next."""
        svg = ET.fromstring(line_chart({"a": [(1, 0.0), (2, 50.0), (4, 100.0)]}, x="x", y="y", doubling=True))
        circles = [(float(c.get("cx")), float(c.get("cy"))) for c in svg.iter() if c.tag.endswith("circle")]
        (x1, y1), (x2, y2), (x3, y3) = circles
        assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
        assert y1 - y2 == pytest.approx(y2 - y3, abs=0.2)
        assert y3 == pytest.approx(16, abs=0.2)

    def test_bars_are_as_long_as_their_numbers(self):
        svg = ET.fromstring(bar_chart([("big & <bold>", 4.0), ("half", 2.0), ("none", 0.0)], unit="ms"))
        lengths = [float(r.get("width")) for r in svg.iter() if r.tag.endswith("rect")]
        assert lengths[1] == pytest.approx(lengths[0] / 2, abs=0.2)
        assert lengths[2] == 0

    @pytest.mark.parametrize("series", [{}, {"a": [(1, 0.0)]}, {"a": [(3, 2.0), (3, 2.0)]}])
    def test_next_to_nothing(self, series):
        ET.fromstring(line_chart(series, x="x", y="y"))
