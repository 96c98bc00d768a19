"""The report of a package: its numbers are those of its own samples, and each part says what it is of."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import numpy as np
import pytest

from hubserve.complexity import complexity
from hubserve.errors import ProfileError
from hubserve.hub.registry import get_space
from hubserve.latency.arch_latency import MeasuredLatency
from hubserve.latency.compare import compare_reports
from hubserve.latency.html_report import render_page
from hubserve.latency.memory import measure_memory
from hubserve.latency.package_calls import PackageCalls
from hubserve.latency.profile_package import Details, profile_package
from hubserve.latency.profile_report import ProfileReport
from hubserve.latency.tables.latency_table import LatencyTable
from hubserve.latency.tables.records import OperationTime
from hubserve.operations import arch_operations
from hubserve.package.package import read_package
from hubserve.timing import TimingProtocol
from tests.export.nets import ARCH, small_source
from tests.other_inputs import ARCH as OTHER_ARCH
from tests.other_inputs import tagger_package
from tests.stores import small_package, tiny_package

GOLDEN = Path(__file__).parent.parent / "golden"


class TestLatency:
    def test_numbers_are_those_of_the_samples(self, report):
        assert [form.format for form in report.formats] == ["eager", "onnx", "torchscript", "pt2", "openvino"]
        for form in report.formats:
            samples = sorted(form.samples_ms)
            assert form.n == len(samples)
            assert form.min_ms == samples[0]
            assert form.mean_ms == pytest.approx(np.mean(samples))
            assert form.sd_ms == pytest.approx(np.std(samples, ddof=1))
            assert form.images_per_second == pytest.approx(1000 / np.mean(samples))
            for p in form.percentiles:
                if p.value is not None:
                    assert form.n >= p.needs
                    assert p.value == pytest.approx(np.percentile(samples, p.percent, method="inverted_cdf"))
                    assert p.value <= p.upper_bound <= samples[-1]
            half = form.n // 2
            ratio = statistics.median(form.samples_ms[half:]) / statistics.median(form.samples_ms[:half])
            assert form.drift == pytest.approx(ratio - 1)

    def test_tells_what_and_where(self, report):
        manifest = small_package().manifest
        assert report.host.cores >= 1
        assert report.host.versions["python"]
        assert report.host.versions["torch"]
        assert len(report.host.affinity) == report.host.cores
        assert report.weights_sha256 == manifest.files["weights.safetensors"].sha256
        assert report.preprocess == manifest.preprocess
        onnx = next(artefact for artefact in report.artefacts if artefact.format == "onnx")
        assert (onnx.file, onnx.bytes) == ("model.onnx", (small_package().path / "model.onnx").stat().st_size)
        assert onnx.made["opset"] == 20
        assert onnx.runtime.startswith("onnxruntime ")
        assert {a.format: a.file for a in report.artefacts}["openvino"] == "model.onnx"
        assert (report.rules.deepest_percent, report.rules.turns) == (90, 10)

    def test_openvino_is_proven_here(self, report):
        assert [r.format for r in report.parity] == ["onnx", "torchscript", "pt2", "openvino"]
        assert all(r.passed for r in report.parity)

    def test_is_json_by_its_own_schema(self, report):
        import jsonschema

        document = json.loads(report.model_dump_json())
        jsonschema.validate(document, ProfileReport.model_json_schema())
        assert ProfileReport.model_validate(document) == report
        del document["formats"][0]["n"]
        with pytest.raises(jsonschema.ValidationError, match="'n' is a required property"):
            jsonschema.validate(document, ProfileReport.model_json_schema())

    @pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"threads": 0}])
    def test_nonsense_is_refused(self, wrong):
        with pytest.raises(ProfileError, match="must be at least 1"):
            profile_package(tiny_package(), **wrong)


class TestOldReports:
    """Reports written before "form" was named "format"."""

    def test_that_of_an_earlier_version_opens(self):
        path = GOLDEN / "package" / "profile.json"
        text = path.read_text()
        assert '"forms"' in text
        found = ProfileReport.model_validate_json(text)
        assert [row.format for row in found.formats] == ["eager", "onnx", "torchscript", "pt2", "onnx-int8"]
        assert found.latency_of("onnx").n == len(found.latency_of("onnx").samples_ms)
        written = json.loads(found.model_dump_json())
        assert not {"form", "forms"} & {*written, *written["formats"][0], *written["artefacts"][0]}
        assert ProfileReport.model_validate(written) == found

    def test_inside_a_package(self):
        package = read_package(GOLDEN / "package")
        assert package.profile["formats"][1]["format"] == "onnx"
        assert ProfileReport.model_validate(package.profile).model == package.manifest.name

    def test_it_is_shown_and_compared(self):
        found = ProfileReport.model_validate(read_package(GOLDEN / "package").profile)
        assert "golden-package" in render_page(found)
        assert {row.verdict for row in compare_reports(found, found)} == {"no difference"}


class TestWhereTheTimeGoes:
    def test_every_convolution_has_its_module(self, report):
        rows = report.operators["onnx"]
        assert sum(row.share for row in rows) <= 1.0000001
        assert [row.ms for row in rows] == sorted((row.ms for row in rows), reverse=True)
        modules = {path for path, _ in small_source().model.named_modules()}
        convolutions = {row.module for row in rows if row.operator == "Conv"}
        assert convolutions <= modules
        assert {"stem.0", "blocks.0.0", "feature_mix_layer.0"} <= convolutions
        assert "aten::mkldnn_convolution" in {row.operator for row in report.operators["eager"]}

    def test_choices_hold_what_their_operations_take(self, report):
        by_label = {row.label: row for row in report.choices}
        assert set(by_label) <= set(ARCH)
        assert by_label["s2_i0"].value == "k3e3"
        under = [row for row in report.operators["onnx"] if (row.module or "").startswith("blocks.1.0.")]
        assert by_label["s2_i0"].ms == pytest.approx(sum(row.ms for row in under))

    def test_a_model_without_onnx_has_no_such_table(self):
        found = profile_package(
            tiny_package(), protocol=TimingProtocol(percent=50, max_seconds=0.2), details=Details(sweep_seconds=0, memory=False)
        )
        assert list(found.operators) == ["eager"]
        assert found.choices == ()
        assert found.sweep is None
        assert found.cost.measured_ms is None


class TestSweep:
    def test_settings(self, report):
        sweep, cores = report.sweep, report.host.cores
        assert sweep.format == "onnx"
        assert [(p.batch_size, p.threads, p.sessions) for p in sweep.by_batch] == [(1, 1, 1), (4, 1, 1)]
        assert [p.threads for p in sweep.by_threads][-1] == cores == [p.sessions for p in sweep.by_sessions][-1]
        assert all(p.n >= 5 for p in (*sweep.by_batch, *sweep.by_threads, *sweep.by_sessions))
        for p in (*sweep.by_batch, *sweep.by_threads):
            assert p.images_per_second == pytest.approx(p.batch_size / p.p50_ms * 1e3)


class TestCost:
    def test_is_counted_by_others_too(self, report):
        work = complexity(small_source().model, (3, 32, 32))
        assert (report.cost.params, report.cost.macs) == (work.params, work.macs)
        onnx = report.latency_of("onnx")
        assert report.cost.gmacs_per_second == pytest.approx(work.macs / report.cost.measured_ms / 1e6)
        assert abs(report.cost.measured_ms - statistics.median(onnx.samples_ms)) <= onnx.iqr_ms
        assert report.cost.predicted_ms is None

    def test_against_a_lookup_table(self, report):
        package = small_package()
        space = package.manifest.space
        from hubserve.hub import get_space

        built = get_space(space, package.manifest.settings)
        units = arch_operations(built, ARCH, (1, 3, 32, 32))
        table = LatencyTable(
            space=space,
            settings=package.manifest.settings,
            input_size=32,
            host=report.host,
            operations={unit.key: OperationTime.of([0.001]) for unit in units},
        )
        details = Details(sweep_seconds=0, memory=False, operators=False, table=table)
        cost = profile_package(package, protocol=TimingProtocol(percent=50, max_seconds=0.2), details=details).cost
        assert cost.predicted_ms == pytest.approx(0.001 * len(units))
        assert cost.prediction_error == pytest.approx(cost.predicted_ms / cost.measured_ms - 1)


@pytest.mark.slow
def test_memory_is_that_of_the_model():
    """In a process of its own, above the libraries that it loads first."""
    (found,) = measure_memory(PackageCalls(tiny_package(), {}), ["eager"], batch_size=1, threads=1)
    assert found.format == "eager"
    assert found.delta_mib == pytest.approx(found.peak_mib - found.before_mib, abs=0.02)
    assert 0.1 < found.delta_mib < found.before_mib
    with pytest.raises(ProfileError, match=r"memory cannot be measured here: .*has no onnx"):
        measure_memory(PackageCalls(tiny_package(), {}), ["onnx"], batch_size=1, threads=1)


@pytest.fixture(scope="module")
def words():
    protocol = TimingProtocol(percent=50, max_seconds=0.05, max_warm_up=2)
    details = Details(sweep_seconds=1e-3, batches=(1, 2), memory=False, operators=True, openvino=True)
    return profile_package(tagger_package(), batch_size=2, protocol=protocol, details=details, lengths={"length": 20})


class TestOtherInputs:
    """A model of indices of words, with a mask."""

    def test_every_part_is_of_its_inputs(self, words):
        assert [found.format for found in words.formats] == ["eager", "onnx", "torchscript", "pt2"]
        assert words.left_out == {"openvino": "openvino runs image classifiers only"}
        assert [entry.name for entry in words.inputs] == ["ids", "mask"]
        assert words.lengths == {"length": 20}
        assert words.preprocess is None
        assert words.operators["onnx"]
        assert words.sweep.by_batch[1].batch_size == 2
        assert {row.label for row in words.choices} == {"layer0", "layer1"}
        assert ProfileReport.model_validate_json(words.model_dump_json()) == words
        page = render_page(words)
        assert "length of length" in page
        assert all(part in page for part in ("rows/s", "rows of a call"))
        assert "images" not in page

    @pytest.mark.parametrize("lengths", [{"length": 65}, {"frames": 3}, {"length": 0}])
    def test_a_length_that_is_not_allowed(self, lengths):
        with pytest.raises(ProfileError, match=r"tagger has the axes length \(1 to 64\)"):
            profile_package(tagger_package(), lengths=lengths)


def test_an_arch_of_other_inputs_is_measured():
    space = get_space("tests.other_inputs:Tagger")
    found = MeasuredLatency(32, seconds=0.05, percent=50.0).measure(space, OTHER_ARCH)
    assert found.n > 0
