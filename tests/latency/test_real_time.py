"""Real-time factors of models whose outputs pass in time, and none of others."""

from __future__ import annotations

from dataclasses import dataclass
from html import unescape

import pytest
from pydantic import ValidationError

from hubserve.export.model_source import arch_source
from hubserve.export.write_package import write_package
from hubserve.hub import LightSpeech
from hubserve.hub.registry import get_space
from hubserve.latency.html_report import render_page
from hubserve.latency.package_calls import PackageCalls
from hubserve.latency.profile_package import profile_package
from hubserve.latency.profile_report import ProfileReport
from hubserve.latency.real_time import measure_real_time, timed_output
from hubserve.latency.report_rows import real_time_rows
from hubserve.package.manifest import OutputEntry
from hubserve.timing import TimingProtocol
from tests.other_inputs import ARCH, LONGEST, Tagger, tagger_package

QUICK = TimingProtocol(percent=50, max_seconds=0.05, max_warm_up=2)
STEP = 0.25


@dataclass(frozen=True)
class TimedTagger(Tagger):
    """Each word takes a quarter of a second."""

    @property
    def outputs(self) -> tuple[OutputEntry, ...]:
        scores, summary = super().outputs
        return scores.model_copy(update={"seconds_per_step": {"length": STEP}}), summary


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    space = get_space("tests.latency.test_real_time:TimedTagger")
    source = arch_source(space, {}, ARCH, name="timed")
    return write_package(source, tmp_path_factory.mktemp("timed") / "timed", formats=["torchscript"])


@pytest.fixture(scope="module")
def report(package) -> ProfileReport:
    return profile_package(package, protocol=QUICK, rebuild=False, lengths={"length": 16})


def test_the_factor_is_compute_over_output(report):
    found = report.real_time
    assert (found.format, found.threads, found.output, found.axis) == ("torchscript", 1, "scores", "length")
    assert [point.lengths for point in found.points] == [{"length": n} for n in (4, 8, 16, 32)]
    for point in found.points:
        assert point.output_seconds == STEP * point.lengths["length"]
        assert point.factor == pytest.approx(point.p50_ms / 1000 / point.output_seconds)


def test_lengths_stay_within_what_is_allowed(package):
    found = measure_real_time(PackageCalls(package, {"length": LONGEST}), "torchscript", protocol=QUICK)
    assert [point.lengths["length"] for point in found.points] == [16, 32, 64]
    found = measure_real_time(PackageCalls(package, {"length": 1}), "torchscript", protocol=QUICK)
    assert [point.lengths["length"] for point in found.points] == [1, 2]


def test_tables_and_page_show_it(report):
    columns, first, *_ = real_time_rows(report.real_time)
    assert columns == ("length", "seconds of scores", "p50 ms", "real-time factor")
    assert first[:2] == ("4", "1.00")
    page = unescape(render_page(report))
    assert "Seconds of compute for a second of scores, by torchscript with 1 thread(s)." in page
    assert first[3] in page
    assert ProfileReport.model_validate_json(report.model_dump_json()) == report


def test_other_models_have_none():
    calls = PackageCalls(tagger_package(), {"length": 4})
    assert timed_output(tagger_package().manifest.outputs) is None
    assert measure_real_time(calls, "torchscript", protocol=QUICK) is None


def test_the_manifest_says_which_axis_is_time(package):
    scores, summary = package.manifest.outputs
    assert scores.seconds_per_step == {"length": STEP}
    assert "seconds_per_step" not in summary.model_dump()  # Earlier readers do not know it.
    plain = {"name": "scores", "dtype": "float32", "shape": ("batch", "frames"), "meaning": "other"}
    with pytest.raises(ValidationError, match="seconds_per_step: 'frame' is no axis"):
        OutputEntry(**plain, seconds_per_step={"frame": 0.1})
    with pytest.raises(ValidationError, match="greater than 0"):
        OutputEntry(**plain, seconds_per_step={"frames": 0})
    assert timed_output(LightSpeech().outputs) == (0, "frames")
