"""`hubserve profile`: what it prints follows from the samples that it saves."""

from __future__ import annotations

import json
import math
import shutil
import statistics
from pathlib import Path

import pytest

from hubserve import store
from hubserve.host import describe_host
from hubserve.latency.all_formats import profile_all_formats
from hubserve.latency.tables.latency_table import LatencyTable
from hubserve.package.package import read_package


def cells(table: str) -> dict[str, dict[str, str]]:
    """Form -> measure -> what the table says."""
    (_, *forms), *rows = [
        [cell.strip() for cell in line.strip("┃│").replace("┃", "│").split("│")]
        for line in table.partition("└")[0].splitlines()
        if line.startswith(("│", "┃"))
    ]
    return {form: {row[0]: row[i] for row in rows} for i, form in enumerate(forms, start=1)}


def shown(milliseconds: float) -> str:
    return f"{milliseconds:.2f}" if milliseconds >= 1 else f"{milliseconds:.3g}"


def nearest_rank(samples: list[float], percent: int) -> float:
    ordered = sorted(samples)
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]


def test_the_table_follows_from_the_raw_samples(hubserve, tiny):
    """Computed again here, from the file alone, with another formula for each."""
    table = cells(
        hubserve(
            "profile", tiny, "--latency-only", "--percent", "90", "--seconds", "3", "--batch-size", "2", "--save", "report.json"
        ).fine()
    )
    report = json.loads(Path("report.json").read_text())
    assert list(table) == [form["format"] for form in report["formats"]] == ["eager", "torchscript"]
    for form in report["formats"]:
        samples, row = form["samples_ms"], table[form["format"]]
        assert row["calls measured"] == str(len(samples)) == str(form["n"])
        assert len(samples) >= 64
        assert min(samples) > 0
        for percent, needs in ((50, 11), (90, 64), (95, 130), (99, 662)):
            cell = row[f"p{percent} ms"]
            if len(samples) < needs:
                assert cell == f"n/a (needs {needs})"
                continue
            value, bound = cell.removesuffix(")").split(" (<= ")
            assert value == shown(nearest_rank(samples, percent))
            assert float(value) <= float(bound) <= max(samples) + 0.005
        assert row["mean ms"] == shown(statistics.fmean(samples))
        assert row["images/s"] == f"{2000 / statistics.fmean(samples):.1f}"
        assert row["load ms"] == f"{form['load_ms']:.0f}"
        assert row["first call ms"] == f"{form['first_call_ms']:.0f}"
        assert row["verdict"] == form["verdict"]
        assert form["batch_size"] == 2


def test_a_percentile_without_its_samples_is_not_printed(hubserve, tiny):
    table = cells(hubserve("profile", tiny, "--latency-only", "--seconds", "0.1", "--batch-size", "16").fine())
    for row in table.values():
        assert int(row["calls measured"]) < 662
        assert row["p99 ms"] == "n/a (needs 662)"


def test_json_is_what_is_saved(hubserve, tiny):
    document = hubserve(
        "profile", tiny, "--latency-only", "--percent", "50", "--seconds", "0.2", "--save", "report.json", "--json"
    ).json()
    assert document == json.loads(Path("report.json").read_text())
    assert document["model"] == "tiny"
    assert document["weights_sha256"] == read_package(tiny).manifest.files["weights.safetensors"].sha256
    assert document["host"]["versions"]["torch"]
    assert [form["threads"] for form in document["formats"]] == [1, 1]


def test_every_form_side_by_side(hubserve, small):
    document = hubserve("profile", small, "--latency-only", "--percent", "50", "--seconds", "0.2", "--json").json()
    assert [form["format"] for form in document["formats"]] == ["eager", "onnx", "torchscript", "pt2"]


@pytest.mark.slow
def test_programs_of_a_stranger_are_left_out_until_they_are_trusted(hubserve, tiny, tmp_path, monkeypatch):
    store.publish(tiny, name="brought")
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "another user"))
    arguments = ("profile", "brought", "--percent", "50", "--seconds", "0.2", "--json")
    document = hubserve(*arguments).json()
    assert [form["format"] for form in document["formats"]] == ["eager"]
    assert "say so with --trust" in document["left_out"]["torchscript"]
    trusting = hubserve(*arguments, "--trust").json()
    assert [form["format"] for form in trusting["formats"]] == [entry["format"] for entry in trusting["memory"]]
    assert trusting["left_out"] == {}


@pytest.mark.parametrize(
    ("calls", "what"),
    [(("--threads", "2"), "threads = 1, and 2 was asked for"), (("--batch-size", "4"), "batch_size = 1, and 4 was asked for")],
)
def test_a_table_of_other_calls_is_not_compared(hubserve, tiny, calls, what):
    manifest = read_package(tiny).manifest
    host = describe_host()
    LatencyTable(space=manifest.space, settings=manifest.settings, input_size=32, host=host).save(Path("table.json"))
    assert what in hubserve("profile", tiny, *calls, "--table", "table.json").refused("ProfileError")


def test_not_longer_than_it_may(hubserve, tiny):
    document = hubserve(
        "profile", tiny, "--latency-only", "--percent", "99.9", "--batch-size", "16", "--seconds", "0.3", "--json"
    ).json()
    for form in document["formats"]:
        assert form["stopped_by"] == "max_seconds"
        # One turn of each form may begin just before the end, and each has one turn before the time begins.
        assert sum(form["samples_ms"]) < 300 + 30 * max(form["samples_ms"])


def test_the_percentile_that_was_asked_for_is_among_them(hubserve, tiny):
    document = hubserve("profile", tiny, "--latency-only", "--percent", "80", "--seconds", "0.5", "--json").json()
    for form in document["formats"]:
        assert 80 in [percentile["percent"] for percentile in form["percentiles"]]


def test_no_such_model(hubserve):
    assert "Did you mean efficientnet-lite0?" in hubserve("profile", "efficientnet-lite").refused("ModelNotFoundError")
    assert hubserve("profile", "no/such/folder").refused("PackageError").startswith("no/such/folder is not a package")


def test_a_file_that_cannot_be_written(hubserve, tiny):
    said = hubserve("profile", tiny, "--latency-only", "--seconds", "0.1", "--save", "no/folder/report.json")
    assert "no/folder/report.json" in said.err
    assert (said.code, said.fault) == (2, "")


def test_the_whole_report(hubserve, tiny):
    """Throughput, memory, operators and work; and the same as a page, and in the package."""
    shutil.copytree(tiny, "package")
    arguments = ("package", "--percent", "50", "--seconds", "5", "--write", "--html", "report.html", "--save", "report.json")
    said = hubserve("profile", *arguments).fine()
    for title in ("Throughput of torchscript", "Slowest operations of eager", "Work of one image"):
        assert title in said
    report = json.loads(Path("report.json").read_text())
    assert [entry["format"] for entry in report["memory"]] == ["eager", "torchscript"]
    table = cells(said)
    for form, memory in zip(report["formats"], report["memory"], strict=True):
        row = table[form["format"]]
        assert row["stopped by"] == {"samples": "enough calls", "max_seconds": "time"}[form["stopped_by"]]
        ended = {"steady": "steady", "cap": "not steady"}[form["warm_up_ended"]]
        assert row["warm-up calls"] == f"{form['warm_up_calls']} ({ended})"
        assert row["peak memory MiB"] == f"{memory['peak_mib']:.0f} (+{memory['delta_mib']:.0f})"
    host = report["host"]
    for told in (host["cpu"], host["system"], f"torch {host['versions']['torch']}", " ".join(host["flags"])):
        assert told in said
    assert Path("report.html").read_text().startswith("<!doctype html>")
    package = read_package(Path("package"))
    package.verify()
    assert package.profile == report
    (published,) = [hubserve("publish", "package", "--json").json()]
    assert json.loads((Path(published["path"]) / "profile.json").read_text()) == report
    same = hubserve("profile", "compare", published["tag"], "report.json", "--json").json()
    assert {row["verdict"] for row in same} == {"no difference"}


def test_a_report_is_put_into_ones_own_folder_only(hubserve, tiny):
    hubserve("publish", tiny).fine()
    message = hubserve("profile", "tiny", "--write").refused("ProfileError")
    assert "a version in the store never changes" in message
    assert "a version in the store never changes" in hubserve("publish", "tiny", "--profile").refused("ProfileError")


def test_the_schema(hubserve):
    schema = hubserve("profile", "--schema").json()
    assert schema["title"] == "ProfileReport"
    assert "samples_ms" in schema["$defs"]["FormatLatency"]["properties"]
    assert "--schema" in hubserve("profile", "--latency-only").refused("ProfileError")


class TestCompare:
    @pytest.fixture
    def reports(self, hubserve, tiny):
        """a.json, and b.json in which TorchScript takes half as long again."""
        hubserve("profile", tiny, "--latency-only", "--percent", "50", "--seconds", "2", "--save", "a.json").fine()
        report = json.loads(Path("a.json").read_text())
        form = report["formats"][1]
        # A quiet machine's samples, whatever this one is like.
        form["samples_ms"] = [1 + 0.01 * (i % 7) for i in range(100)]
        Path("a.json").write_text(json.dumps(report))
        form["samples_ms"] = [1.5 * sample for sample in form["samples_ms"]]
        Path("b.json").write_text(json.dumps(report))

    def test_slower_ends_with_1(self, hubserve, reports):
        said = hubserve("profile", "compare", "a.json", "b.json", "--format", "torchscript")
        assert (said.code, said.fault) == (1, "")
        assert "slower" in said.out
        assert "1.500" in said.out

    def test_faster_and_the_same_end_with_0(self, hubserve, reports):
        assert "faster" in hubserve("profile", "compare", "b.json", "a.json", "--format", "torchscript").fine()
        assert "no difference" in hubserve("profile", "compare", "a.json", "a.json", "--format", "torchscript").fine()
        assert hubserve("profile", "compare", "a.json", "b.json", "--format", "torchscript", "--smallest", "60").code == 0

    def test_what_cannot_be_compared(self, hubserve, reports, tiny):
        assert "no format in common" not in hubserve("profile", "compare", "a.json", "b.json", "--format", "onnx").refused(
            "ProfileError"
        )
        assert "neither the file of a report" in hubserve("profile", "compare", "a.json", "nosuch.json").refused("ProfileError")
        assert "neither the file of a report" in hubserve("profile", "compare", "a.json", tiny).refused("ProfileError")
        Path("c.json").write_text("{}")
        assert "holds no report" in hubserve("profile", "compare", "a.json", "c.json").refused("ProfileError")
        report = json.loads(Path("a.json").read_text())
        report["formats"][1]["threads"] = 2
        Path("c.json").write_text(json.dumps(report))
        message = hubserve("profile", "compare", "a.json", "c.json", "--format", "torchscript").refused("ProfileError")
        assert "threads is 1 in A and 2 in B" in message


class TestAllFormats:
    def test_options_without_effect(self, hubserve, tiny):
        assert "DATA has no effect here: it goes with --all-formats" in hubserve("profile", tiny, "photos").refused(
            "ProfileError"
        )
        for option in (("--html", "x.html"), ("--write",), ("--openvino",), ("--percent", "90"), ("--table", "t.json")):
            said = hubserve("profile", tiny, "--all-formats", *option).refused("ProfileError")
            assert said.startswith(f"{option[0]} has no effect here")

    def test_its_schema(self, hubserve):
        assert "failed" in hubserve("profile", "--schema", "--all-formats").json()["properties"]

    def test_the_table(self, hubserve, tiny, monkeypatch):
        """With one format, for the time; tests/latency/test_all_formats.py has all of them."""
        measure = profile_all_formats
        monkeypatch.setattr(
            "hubserve.cli.all_formats.profile_all_formats",
            lambda source, **options: measure(source, formats=("torchscript", "onnx-int8"), **options),
        )
        ran = hubserve("profile", tiny, "--all-formats", "--latency-only", "--seconds", "0.3", "--save", "table.json")
        assert (ran.code, ran.fault) == (0, "")
        assert ran.err == "the accuracy is not known: no labelled images were given\n"
        saved = json.loads(Path("table.json").read_text())
        assert [row["format"] for row in saved["rows"]] == ["eager", "torchscript"]
        for row in saved["rows"]:
            assert row["format"] in ran.out
            assert f"{row['file_bytes'] / 2**20:.2f}" in ran.out
        assert "onnx-int8 needs images" in ran.out
        assert "Not here" in ran.out
