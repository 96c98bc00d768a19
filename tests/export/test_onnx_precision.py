"""ONNX in fewer bits, and ONNX by OpenVINO: each judged as it should be, and never by default."""

from __future__ import annotations

import collections
import dataclasses

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from hubserve.errors import ExportError, PackageError, ParityError
from hubserve.export.eager_runner import EagerRunner
from hubserve.export.exportable_model import ExportableModel
from hubserve.export.format_writers import WRITERS
from hubserve.export.onnx_precision import quantize_onnx
from hubserve.export.write_package import write_package
from hubserve.package.formats import FORMATS
from hubserve.package.onnx_runner import OnnxRunner
from hubserve.package.openvino_runner import OpenVinoRunner
from hubserve.package.parity import FLOAT16, INT8, Bounds, check_parity, prepared_batches
from tests.export.nets import lively, small_source

SOURCE = small_source()
IMAGES = prepared_batches(SOURCE.preprocess, seed=3, sizes=(8, 8, 8, 6))
EAGER = EagerRunner(SOURCE.model)
CLASSES = [int(k) for batch in IMAGES for k in EAGER(batch).argmax(1)]
"""Classes that the network gets right, but for the second image of the second batch."""
CLASSES[9] = (CLASSES[9] + 1) % 7


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return write_package(
        SOURCE,
        tmp_path_factory.mktemp("variants") / "small",
        formats=("onnx", "onnx-fp16", "onnx-int8"),
        images=IMAGES,
        classes=CLASSES,
    )


def ops(package, name):
    return collections.Counter(node.op_type for node in onnx.load(str(package.path / name)).graph.node)


def test_the_float32_file_is_simplified(package):
    """By the exporter itself: no batch norm is left beside its convolution, and nothing that does nothing."""
    assert package.manifest.exports["onnx"]["opset"] == 20
    assert package.manifest.exports["onnx"]["simplified_by"].startswith("onnxscript ")
    found = ops(package, "model.onnx")
    assert found["Conv"] > 10
    assert not {"BatchNormalization", "Identity", "Dropout", "Constant"} & set(found)
    assert onnx.load(str(package.path / "model.onnx")).opset_import[0].version == 20


def test_float16(package):
    model = onnx.load(str(package.path / "model.fp16.onnx"))
    assert {t.data_type for t in model.graph.initializer if len(t.dims) == 4} == {onnx.TensorProto.FLOAT16}
    report = next(report for report in package.parity if report.format == "onnx-fp16")
    assert report.passed
    assert 1e-5 < report.max_abs_error / report.scale <= report.tolerance == FLOAT16.error
    assert report.rms_error / report.scale <= report.rms_tolerance == FLOAT16.rms
    runner = FORMATS["onnx-fp16"].load(package.path / "model.fp16.onnx", 1, "cpu")
    assert runner(IMAGES[0]).dtype == np.float32


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cpu", "cuda", "auto"])
def test_float16_is_not_served_without_a_gpu(package, device):
    with pytest.raises(ExportError, match=r"onnx-fp16 is for CUDA.* without a GPU for it: .*use onnx here"):
        package.runner("onnx-fp16", device=device)


class TestInt8:
    def test_holds_integers_per_channel(self, package):
        model = onnx.load(str(package.path / "model.int8.onnx"))
        tensors = {t.name: t for t in model.graph.initializer}
        weights = [t for t in tensors.values() if len(t.dims) == 4]
        assert {t.data_type for t in weights} == {onnx.TensorProto.INT8}
        scales = {
            node.input[0]: tensors[node.input[1]]
            for node in model.graph.node
            if node.op_type == "DequantizeLinear" and node.input[0] in tensors
        }
        assert all(list(scales[t.name].dims) == [t.dims[0]] for t in weights)
        facts = package.manifest.exports["onnx-int8"]
        assert facts["calibration_images"] == 16
        assert facts["session_config"] == {"session.x64quantprecision": "1"}

    def test_is_judged_by_images_that_it_did_not_learn_from(self, package):
        report = next(report for report in package.parity if report.format == "onnx-int8")
        assert report.batches == (8, 6)
        assert report.tolerance is None
        held_out = np.concatenate([IMAGES[1], IMAGES[3]])
        expected = EAGER(held_out)
        found = package.runner("onnx-int8")(held_out)
        assert report.top1_agreement == pytest.approx((expected.argmax(1) == found.argmax(1)).mean())
        assert report.rms_error == pytest.approx(float(np.sqrt(((expected - found) ** 2).mean())), rel=0.1)
        assert report.rms_error > 1e-3

    def test_its_loss_is_written_down(self, package):
        """Thirteen of the fourteen held out are right by their making."""
        truth = next(report for report in package.parity if report.format == "onnx-int8").truth
        held_out = np.concatenate([IMAGES[1], IMAGES[3]])
        true = np.array(CLASSES[8:16] + CLASSES[24:30])
        assert (truth.images, truth.reference_top1) == (14, pytest.approx(100 * 13 / 14))
        assert truth.top1 == pytest.approx(100 * (package.runner("onnx-int8")(held_out).argmax(1) == true).mean())

    @pytest.mark.parametrize("images", [(), IMAGES[:1]])
    def test_needs_images(self, tmp_path, images):
        with pytest.raises(ExportError, match=r"calibrate the range .* at least two batches.*--images FOLDER"):
            write_package(SOURCE, tmp_path / "p", formats=("onnx-int8",), images=images)
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(ExportError, match="there are none"):
            quantize_onnx(tmp_path / "m.onnx", tmp_path / "q.onnx", ())

    @pytest.mark.parametrize(("wrong", "kept"), [(0, True), (1, True), (2, False)])
    def test_that_loses_too_much_is_not_kept(self, wrong, kept):
        """One of fourteen is 93 %, two are 86 %."""

        class Altered:
            name, device = "onnx-int8", "cpu"

            def __call__(self, batch):
                logits = EAGER(batch).copy()
                logits[:wrong] *= -1
                return logits

        if kept:
            assert check_parity(EAGER, Altered(), [np.concatenate(IMAGES)[:14]], bounds=INT8).passed
            return
        with pytest.raises(ParityError, match=r"best class agrees on 85\.7% of which 90% are needed"):
            check_parity(EAGER, Altered(), [np.concatenate(IMAGES)[:14]], bounds=INT8)

    def test_products_with_a_constant_that_is_no_matrix_stay_as_they_are(self, tmp_path):
        class Heads(nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = nn.Linear(32, 5)
                self.table = nn.Parameter(torch.randn(3, 32, 32))

            def forward(self, x):
                return self.linear((x[:, :, :8, :] @ self.table).mean((1, 2)))

        model = lively(Heads())
        exportable = ExportableModel(model, torch.from_numpy(IMAGES[0]), calibration=IMAGES)
        facts = WRITERS["onnx-int8"](exportable, tmp_path / "q.onnx")
        assert facts["calibration_images"] == 30
        found = OnnxRunner(tmp_path / "q.onnx", device="cpu")(IMAGES[0])
        assert np.corrcoef(found.ravel(), EagerRunner(model)(IMAGES[0]).ravel())[0, 1] > 0.95
        assert [path.name for path in tmp_path.iterdir()] == ["q.onnx"]


class TestOpenVino:
    def test_answers_as_eager_does(self, package):
        runner = package.runner("openvino", threads=1)
        assert check_parity(EAGER, runner, IMAGES).passed
        assert (runner.name, runner.device) == ("openvino", "cpu")

    def test_several_threads_at_once(self, package):
        from concurrent.futures import ThreadPoolExecutor

        runner = package.runner("openvino")
        expected = [runner(batch) for batch in IMAGES]
        with ThreadPoolExecutor(4) as pool:
            for _ in range(5):
                for found, right in zip(pool.map(runner, IMAGES), expected, strict=True):
                    np.testing.assert_allclose(found, right, atol=1e-5)

    def test_a_file_that_is_no_model(self, tmp_path):
        (tmp_path / "m.onnx").write_bytes(b"nothing")
        with pytest.raises(ExportError, match=r"OpenVINO .* cannot load"):
            OpenVinoRunner(tmp_path / "m.onnx")

    def test_where_it_is_not_installed(self, package, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "openvino", None)
        with pytest.raises(ExportError, match=r"pip install 'hubserve\[openvino\]'"):
            package.runner("openvino")

    def test_runs_the_onnx_form(self, package, tmp_path):
        import json
        import shutil

        shutil.copytree(package.path, tmp_path / "p")
        manifest = json.loads((tmp_path / "p/manifest.json").read_text())
        del manifest["exports"]["onnx"]
        (tmp_path / "p/manifest.json").write_text(json.dumps(manifest))
        from hubserve.package.package import read_package

        with pytest.raises(PackageError, match="has no onnx; it has onnx-fp16, onnx-int8"):
            read_package(tmp_path / "p").runner("openvino")


def test_parity_knows_the_worst_row():
    """One image's logits are turned by a right angle."""

    class Turned:
        name, device = "turned", "cpu"

        def __call__(self, batch):
            logits = EAGER(batch).copy()
            logits[0] = np.array([logits[0, 1], -logits[0, 0], logits[0, 3], -logits[0, 2], logits[0, 5], -logits[0, 4], 0])
            return logits

    loose = Bounds(error=None, agreement=0.0, near=0)
    assert check_parity(EAGER, Turned(), IMAGES[:1], bounds=loose).cosine == pytest.approx(0, abs=1e-6)
    assert check_parity(EAGER, EAGER, IMAGES[:1], bounds=loose).cosine == pytest.approx(1)


def test_classes_are_one_a_image(tmp_path):
    with pytest.raises(PackageError, match="3 classes for 30 images"):
        write_package(SOURCE, tmp_path / "p", formats=("torchscript",), images=IMAGES, classes=[1, 2, 3])


def test_made_up_images_are_in_the_range_of_the_network():
    raw = dataclasses.replace(
        SOURCE, preprocess=SOURCE.preprocess.model_copy(update={"scale": 1.0, "mean": (0, 0, 0), "std": (1, 1, 1)})
    )
    (batch,) = prepared_batches(raw.preprocess, sizes=(4,))
    assert batch.shape == (4, 3, 32, 32)
    assert batch.min() == 0
    assert batch.max() == 255
