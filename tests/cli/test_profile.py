"""`hubserve profile`: what it prints follows from the samples that it saves."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path

from hubserve.export.package import read_package


def cells(table: str) -> dict[str, dict[str, str]]:
    """Form -> measure -> what the table says."""
    (_, *forms), *rows = [
        [cell.strip() for cell in line.strip("┃│").replace("┃", "│").split("│")]
        for line in table.partition("└")[0].splitlines()
        if line.startswith(("│", "┃"))
    ]
    return {form: {row[0]: row[i] for row in rows} for i, form in enumerate(forms, start=1)}


def nearest_rank(samples: list[float], percent: int) -> float:
    ordered = sorted(samples)
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]


def test_the_table_follows_from_the_raw_samples(hubserve, tiny):
    """Computed again here, from the file alone, with another formula for each."""
    table = cells(
        hubserve("profile", tiny, "--percent", "90", "--seconds", "3", "--batch-size", "2", "--save", "report.json").fine()
    )
    report = json.loads(Path("report.json").read_text())
    assert list(table) == [form["form"] for form in report["forms"]] == ["eager", "torchscript"]
    for form in report["forms"]:
        samples, row = form["samples_ms"], table[form["form"]]
        assert row["calls measured"] == str(len(samples)) == str(form["n"])
        assert len(samples) >= 64
        assert min(samples) > 0
        for percent, needs in ((50, 11), (90, 64), (95, 130), (99, 662)):
            cell = row[f"p{percent} ms"]
            if len(samples) < needs:
                assert cell == f"n/a (needs {needs})"
                continue
            value, bound = cell.removesuffix(")").split(" (<= ")
            assert value == f"{nearest_rank(samples, percent):.2f}"
            assert float(value) <= float(bound) <= max(samples) + 0.005
        assert row["mean ms"] == f"{statistics.fmean(samples):.2f}"
        assert row["images/s"] == f"{2000 / statistics.fmean(samples):.1f}"
        assert row["load ms"] == f"{form['load_ms']:.0f}"
        assert row["first call ms"] == f"{form['first_call_ms']:.0f}"
        assert row["verdict"] == form["verdict"]
        assert form["batch_size"] == 2


def test_a_percentile_without_its_samples_is_not_printed(hubserve, tiny):
    table = cells(hubserve("profile", tiny, "--seconds", "0.1", "--batch-size", "16").fine())
    for row in table.values():
        assert int(row["calls measured"]) < 662
        assert row["p99 ms"] == "n/a (needs 662)"


def test_json_is_what_is_saved(hubserve, tiny):
    document = hubserve("profile", tiny, "--percent", "50", "--seconds", "0.2", "--save", "report.json", "--json").json()
    assert document == json.loads(Path("report.json").read_text())
    assert document["model"] == "tiny"
    assert document["weights_sha256"] == read_package(tiny).manifest.files["weights.safetensors"].sha256
    assert document["host"]["versions"]["torch"]
    assert [form["threads"] for form in document["forms"]] == [1, 1]


def test_every_form_side_by_side(hubserve, small):
    document = hubserve("profile", small, "--percent", "50", "--seconds", "0.2", "--json").json()
    assert [form["form"] for form in document["forms"]] == ["eager", "onnx", "torchscript", "pt2"]


def test_not_longer_than_it_may(hubserve, tiny):
    document = hubserve("profile", tiny, "--percent", "99.9", "--batch-size", "16", "--seconds", "0.3", "--json").json()
    for form in document["forms"]:
        assert form["stopped_by"] == "max_seconds"
        # One turn of each form may begin just before the end, and each has one turn before the time begins.
        assert sum(form["samples_ms"]) < 300 + 30 * max(form["samples_ms"])


def test_the_percentile_that_was_asked_for_is_among_them(hubserve, tiny):
    document = hubserve("profile", tiny, "--percent", "80", "--seconds", "0.5", "--json").json()
    for form in document["forms"]:
        assert 80 in [percentile["percent"] for percentile in form["percentiles"]]


def test_no_such_model(hubserve):
    assert "Did you mean efficientnet-lite0?" in hubserve("profile", "efficientnet-lite").refused("ModelNotFoundError")
    assert hubserve("profile", "no/such/folder").refused("PackageError").startswith("no/such/folder is not a package")


def test_a_file_that_cannot_be_written(hubserve, tiny):
    said = hubserve("profile", tiny, "--seconds", "0.1", "--save", "no/folder/report.json")
    assert "no/folder/report.json" in said.err
    assert (said.code, said.fault) == (2, "")
