"""Parity: the proof must fail when there is something to find."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hubserve.errors import ExportError, ParityError
from hubserve.export.eager_runner import EagerRunner
from hubserve.export.exportable_model import ExportableModel
from hubserve.export.format_writers import write_pt2
from hubserve.export.onnx import export_onnx
from hubserve.export.torchscript import export_torchscript
from hubserve.package.onnx_runner import OnnxRunner
from hubserve.package.parity import FLOAT16, INT8, LabelledAccuracy, check_features, check_parity, random_batches
from hubserve.package.torch_runners import Pt2Runner, TorchScriptRunner
from tests.export.nets import lively, small_source

BATCHES = random_batches((3, 32, 32))
SPREAD = float(np.concatenate([EagerRunner(small_source().model)(batch) for batch in BATCHES]).std())
EXAMPLE = torch.from_numpy(BATCHES[1])


@pytest.fixture(scope="module")
def model():
    return small_source().model


class Altered:
    """Eager PyTorch with a fault."""

    name, device = "altered", "cpu"

    def __init__(self, model, fault):
        self._eager, self._fault = EagerRunner(model), fault

    def __call__(self, batch):
        return self._fault(self._eager(batch).copy())


def test_batches_are_in_the_range_of_prepared_pictures():
    assert [len(batch) for batch in BATCHES] == [1, 2, 5, 8]
    assert all(batch.dtype == np.float32 and -2.3 < batch.min() < -1 and 1 < batch.max() < 2.8 for batch in BATCHES)


class TestFindsFaults:
    def test_a_shift(self, model):
        def shift(logits):
            logits[:, 0] += 0.05 * logits.std()
            return logits

        with pytest.raises(ParityError, match=r"largest error .* is allowed"):
            check_parity(EagerRunner(model), Altered(model, shift), BATCHES)

    def test_swapped_pictures(self, model):
        with pytest.raises(ParityError):
            check_parity(EagerRunner(model), Altered(model, lambda logits: logits[::-1]), BATCHES)

    def test_a_number_that_is_none(self, model):
        with pytest.raises(ParityError):
            check_parity(EagerRunner(model), Altered(model, lambda logits: logits * np.float32("nan")), BATCHES)

    def test_another_shape(self, model):
        with pytest.raises(ParityError, match=r"shape \(1, 6\) where eager PyTorch returns \(1, 7\)"):
            check_parity(EagerRunner(model), Altered(model, lambda logits: logits[:, :6]), BATCHES)

    def test_logits_that_never_differ_prove_nothing(self):
        constant = lively(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 4)))
        constant[1].weight.data.zero_()
        constant[1].bias.data.zero_()
        with pytest.raises(ParityError, match="the same number for every class"):
            check_parity(EagerRunner(constant), EagerRunner(constant), BATCHES)

    def test_no_batch_proves_nothing(self, model):
        with pytest.raises(ParityError, match="compared on no batch"):
            check_parity(EagerRunner(model), EagerRunner(model), [])

    def test_the_report_travels_with_the_error(self, model):
        with pytest.raises(ParityError) as caught:
            check_parity(EagerRunner(model), Altered(model, lambda logits: -logits), BATCHES)
        report = caught.value.args[1]
        assert not report.passed
        assert report.top1_agreement < 1
        assert report.batches == (1, 2, 5, 8)


class TestFloat16:
    """A bound on the mean, which does not grow with the number of logits, and one on what no rounding explains."""

    @staticmethod
    def noisy(model, share):
        rng = np.random.default_rng(0)
        return Altered(model, lambda logits: logits + share * SPREAD * rng.standard_normal(logits.shape))

    def test_rounding_passes(self, model):
        report = check_parity(EagerRunner(model), self.noisy(model, 4e-3), BATCHES, bounds=FLOAT16)
        assert report.rms_tolerance == FLOAT16.rms

    def test_what_is_off_everywhere(self, model):
        with pytest.raises(ParityError, match=r"root mean square .* where .* is"):
            check_parity(EagerRunner(model), self.noisy(model, 2e-2), BATCHES, bounds=FLOAT16)

    def test_a_single_logit(self, model):
        def one(logits):
            logits[0, logits[0].argmin()] += 0.2 * SPREAD
            return logits

        with pytest.raises(ParityError, match="largest error"):
            check_parity(EagerRunner(model), Altered(model, one), BATCHES, bounds=FLOAT16)


class WideFeatures:
    """Runner whose features, (n, 4096) of standard deviation about 1, are off by `error`, a function of their shape."""

    name, device = "wide", "cpu"

    def __init__(self, error=np.zeros):
        self._error = error

    def with_features(self, batch):
        features = np.random.default_rng(len(batch)).standard_normal((len(batch), 4096))
        return batch[:, 0, 0, :5], features + self._error(features.shape)


def noise(deviation):
    """Errors of rounding: normal ones of that deviation, and one in ten thousand fifty times as large."""
    rng = np.random.default_rng(0)
    return lambda shape: deviation * rng.standard_normal(shape) * np.where(rng.random(shape) < 1e-4, 50, 1)


def one_channel(error):
    def errors(shape):
        return np.where(np.arange(shape[1]) == 7, error, 0.0) * np.ones(shape)

    return errors


class TestFeatures:
    """Features are bounded by the root mean square of their errors, since the largest of 20,000 grows with their number."""

    def test_rounding_with_rare_large_errors_passes(self):
        report = check_features(WideFeatures(), WideFeatures(noise(1e-5)), BATCHES)
        assert report.max_abs_error > 1e-4 * report.scale  # What the largest of some logits may be.
        assert report.rms_error < 1e-4 * report.scale
        assert report.rms_tolerance == 1e-4

    @pytest.mark.parametrize("error", [noise(2e-4), one_channel(0.01), one_channel(np.nan), one_channel(np.inf)])
    def test_what_is_off(self, error):
        with pytest.raises(ParityError, match=r"the features of wide differ .* where 0\.0001 is allowed"):
            check_features(WideFeatures(), WideFeatures(error), BATCHES)

    def test_float16_has_its_own_bound(self):
        check_features(WideFeatures(), WideFeatures(noise(2e-3)), BATCHES, bounds=FLOAT16)
        with pytest.raises(ParityError, match=r"where 0\.01 is allowed"):
            check_features(WideFeatures(), WideFeatures(noise(2e-2)), BATCHES, bounds=FLOAT16)

    def test_int8_must_only_be_finite(self):
        check_features(WideFeatures(), WideFeatures(noise(2.0)), BATCHES, bounds=INT8)
        with pytest.raises(ParityError, match="the features of wide differ"):
            check_features(WideFeatures(), WideFeatures(one_channel(np.nan)), BATCHES, bounds=INT8)


class TestForms:
    def test_onnx_takes_any_batch(self, model, tmp_path):
        export_onnx(ExportableModel(model, EXAMPLE[:1]), tmp_path / "m.onnx")
        report = check_parity(EagerRunner(model), OnnxRunner(tmp_path / "m.onnx", device="cpu"), BATCHES)
        assert report.passed
        assert report.max_abs_error > 0
        assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx"], "weights belong into the one file"

    def test_torchscript_is_scripted(self, model, tmp_path):
        assert export_torchscript(ExportableModel(model, EXAMPLE), tmp_path / "m.pt") == "scripted"
        assert check_parity(EagerRunner(model), TorchScriptRunner(tmp_path / "m.pt"), BATCHES).passed

    def test_what_cannot_be_scripted_is_traced(self, tmp_path):
        class Untyped(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = torch.nn.Linear(3072, 4)

            def forward(self, x, *rest):
                return self.linear(x.flatten(1))

        model = Untyped()
        assert export_torchscript(ExportableModel(model, EXAMPLE), tmp_path / "m.pt") == "traced"
        assert check_parity(EagerRunner(model), TorchScriptRunner(tmp_path / "m.pt"), BATCHES).passed

    @pytest.mark.slow
    def test_no_warning_reaches_the_user(self, model, tmp_path, recwarn, capfd):
        export_onnx(ExportableModel(model, EXAMPLE), tmp_path / "m.onnx")
        export_torchscript(ExportableModel(model, EXAMPLE), tmp_path / "m.pt")
        write_pt2(ExportableModel(model, EXAMPLE), tmp_path / "m.pt2")
        TorchScriptRunner(tmp_path / "m.pt")(BATCHES[0])
        Pt2Runner(tmp_path / "m.pt2")(BATCHES[0])
        OnnxRunner(tmp_path / "m.onnx")(BATCHES[0])
        assert [str(w.message) for w in recwarn] == []
        assert capfd.readouterr().out == ""

    def test_what_cannot_be_exported_says_so(self, tmp_path):
        class Branching(torch.nn.Module):
            def forward(self, x):
                return eval("x if x.sum() > 0 else -x")

        for export in (export_onnx, write_pt2):
            with pytest.raises(ExportError, match=r"torch\.export cannot capture Branching"):
                export(ExportableModel(Branching(), EXAMPLE), tmp_path / "m")
        assert list(tmp_path.iterdir()) == []

    def test_a_file_that_is_no_model(self, tmp_path):
        (tmp_path / "m.onnx").write_bytes(b"nothing")
        with pytest.raises(ExportError, match="cannot load"):
            OnnxRunner(tmp_path / "m.onnx")

    def test_a_pt2_archive_that_is_none(self, tmp_path):
        (tmp_path / "m.pt2").write_bytes(b"nothing")
        with pytest.raises(ExportError, match=r"torch\.export cannot load"):
            Pt2Runner(tmp_path / "m.pt2")

    def test_pt2_takes_any_batch(self, model, tmp_path):
        write_pt2(ExportableModel(model, EXAMPLE[:1]), tmp_path / "m.pt2")
        assert check_parity(EagerRunner(model), Pt2Runner(tmp_path / "m.pt2"), BATCHES).passed

    def test_a_torchscript_file_that_is_no_model(self, tmp_path):
        (tmp_path / "m.pt").write_bytes(b"nothing")
        with pytest.raises(ExportError, match="TorchScript cannot load"):
            TorchScriptRunner(tmp_path / "m.pt")

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_cuda_without_a_device_is_refused(self, model, tmp_path):
        export_onnx(ExportableModel(model, EXAMPLE), tmp_path / "m.onnx")
        assert OnnxRunner(tmp_path / "m.onnx", device="auto").device == "cpu"
        with pytest.raises(ExportError, match="'cuda' was asked for"):
            OnnxRunner(tmp_path / "m.onnx", device="cuda")


def test_the_key_of_earlier_packages_is_read():
    truth = {"reference_top1": 80.0, "top1": 70.0}
    assert LabelledAccuracy.model_validate({"pictures": 9, **truth}) == LabelledAccuracy.model_validate({"images": 9, **truth})
    assert LabelledAccuracy(images=9, **truth).model_dump() == {"images": 9, **truth}
