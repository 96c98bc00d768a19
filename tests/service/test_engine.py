"""The engine: a package's own answers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hubserve.errors import ExportError, ImageError, ImageTooLargeError, PackageError, ParityError, TensorError, TopKError
from hubserve.export.eager_runner import EagerRunner
from hubserve.export.rebuild_model import rebuild_model
from hubserve.export.write_package import write_package
from hubserve.host import cores
from hubserve.hub import ProxylessNAS
from hubserve.package.manifest import FileEntry
from hubserve.package.onnx_runner import cuda_available
from hubserve.package.openvino_runner import OpenVinoRunner
from hubserve.package.package import read_package
from hubserve.package.predictions import softmax
from hubserve.preprocess import decode_pixels
from hubserve.service.engine import Engine
from tests.export.nets import ARCH, SETTINGS, lively, small_source
from tests.images import noise, photo
from tests.stores import small_package, tiny_package


@pytest.fixture(scope="module")
def small():
    return small_package()


@pytest.fixture(scope="module")
def engine(small):
    return Engine(small, device="cpu")


def by_eager(package, data):
    """Class -> probability, by PyTorch."""
    prepared = package.manifest.preprocess.fast(decode_pixels(data))[None]
    logits = EagerRunner(rebuild_model(package))(prepared)[0].astype(np.float64)
    likelihood = np.exp(logits - logits.max())
    return dict(enumerate(likelihood / likelihood.sum()))


def edited(package, folder, change, labels=None):
    """A copy of a package with another manifest, and other labels where they are given."""
    shutil.copytree(package.path, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    if labels is not None:
        content = "".join(f"{label}\n" for label in labels).encode()
        (folder / "labels.txt").write_bytes(content)
        entry = FileEntry(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        manifest["files"]["labels.txt"] = entry.model_dump()
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return read_package(folder)


class TestClassify:
    @pytest.mark.parametrize("data", [photo("chelsea"), photo("coffee", "PNG"), noise()], ids=["jpeg", "png", "noise"])
    def test_as_pytorch_answers(self, engine, small, data):
        predictions = engine.classify(data, top_k=7).predictions
        expected = by_eager(small, data)
        assert {p.index: p.probability for p in predictions} == pytest.approx(expected, abs=1e-4)
        assert [p.index for p in predictions] == sorted(expected, key=expected.__getitem__, reverse=True)
        assert all(p.label == small.labels[p.index] for p in predictions)

    def test_probabilities_add_up_to_one(self, engine):
        predictions = engine.classify(noise(), top_k=7).predictions
        assert sum(p.probability for p in predictions) == pytest.approx(1, abs=1e-9)

    def test_fewer_classes_are_the_first_of_all(self, engine):
        everything = engine.classify(noise(), top_k=7).predictions
        for k in (1, 3, 6):
            assert engine.classify(noise(), top_k=k).predictions == everything[:k]
        assert engine.classify(noise()).predictions == everything[:5]

    def test_all_where_there_are_fewer_than_five(self, tmp_path):
        settings = {**SETTINGS, "num_labels": 3}
        model = lively(ProxylessNAS(**settings).freeze(ARCH))
        source = dataclasses.replace(small_source(), model=model, settings=settings, labels=("a", "b", "c"))
        package = write_package(source, tmp_path / "three", formats=("onnx",))
        assert sorted(p.label for p in Engine(package, device="cpu").classify(noise()).predictions) == ["a", "b", "c"]

    @pytest.mark.parametrize("top_k", [0, -1, 8, 1000])
    def test_more_or_less_than_there_are(self, engine, top_k):
        with pytest.raises(TopKError, match=f"top_k = {top_k} is not between 1 and 7, the number of classes of this model"):
            engine.classify(noise(), top_k=top_k)

    def test_prepared_as_the_package_says(self, small, tmp_path):
        """Another order of colours in the manifest is another answer."""
        package = edited(small, tmp_path / "bgr", lambda manifest: manifest["preprocess"].update(channels="bgr"))
        data = photo("coffee")
        answer = {p.index: p.probability for p in Engine(package, device="cpu").classify(data, top_k=7).predictions}
        assert answer == pytest.approx(by_eager(package, data), abs=1e-4)
        assert answer != pytest.approx(by_eager(small, data), abs=1e-2)

    def test_times(self, engine):
        answer = engine.classify(photo("chelsea"))
        assert answer.decode_ms > 0
        assert answer.infer_ms > 0

    @pytest.mark.parametrize("data", [b"", b"hello", photo("coffee")[:2000]], ids=["empty", "text", "half"])
    def test_no_picture(self, engine, data):
        with pytest.raises(ImageError, match="not a readable image"):
            engine.classify(data)

    def test_pixels(self, small):
        engine = Engine(small, device="cpu", max_pixels=40 * 40)
        assert engine.classify(noise(40)).predictions
        with pytest.raises(ImageTooLargeError, match="41 x 41 pixels; at most 1,600"):
            engine.classify(noise(41))

    def test_from_several_threads(self, engine):
        pictures = [noise(seed=i) for i in range(4)]
        alone = [engine.classify(data).predictions for data in pictures]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda i: engine.classify(pictures[i % 4]).predictions, range(64)))
        assert together == alone * 16

    def test_warm_up_changes_no_answer(self, small):
        engine = Engine(small, device="cpu")
        before = engine.classify(noise()).predictions
        engine.warm_up()
        assert engine.classify(noise()).predictions == before


class TestWhatItTakes:
    def test_a_package_as_it_was_written(self, small, tmp_path):
        shutil.copytree(small.path, tmp_path / "copy")
        (tmp_path / "copy" / "labels.txt").write_text("\n".join("abcdefg") + "\n")
        with pytest.raises(PackageError, match=r"labels\.txt was changed"):
            Engine(read_package(tmp_path / "copy"), device="cpu")

    def test_one_label_for_each_class(self, small, tmp_path):
        package = edited(small, tmp_path / "copy", lambda manifest: None, labels="abcdef")
        with pytest.raises(PackageError, match="6 labels for 7 classes"):
            Engine(package, device="cpu")

    def test_an_onnx_form(self):
        with pytest.raises(PackageError, match="has no onnx; it has torchscript"):
            Engine(tiny_package(), device="cpu")

    def test_the_device_that_is_there(self, small, engine):
        assert engine.device == "cpu"
        if not cuda_available():
            assert Engine(small).device == "cpu"
            with pytest.raises(ExportError, match="'cuda' was asked for; the CUDA driver sees 0 GPUs"):
                Engine(small, device="cuda")

    def test_openvino_is_compared_before_it_answers(self, small, engine, monkeypatch):
        pytest.importorskip("openvino")
        assert Engine(small, backend="openvino").classify(noise()).predictions[0].label == (
            engine.classify(noise()).predictions[0].label
        )
        right = OpenVinoRunner.__call__
        monkeypatch.setattr(OpenVinoRunner, "__call__", lambda self, batch: right(self, batch) + (len(batch) == 5) * 0.01)
        with pytest.raises(ParityError, match=r"small: openvino differs from onnx: largest error 0\.01 where .* backend onnx"):
            Engine(small, backend="openvino")

    def test_openvino_runs_as_many_calls_at_once_as_will_come(self, small):
        pytest.importorskip("openvino")
        assert small.runner("openvino").callers == 1
        assert small.runner("openvino", callers=2).callers == min(2, cores())

    def test_pictures_that_are_prepared_already(self, engine):
        prepared = engine.prepare(noise()).pixels
        assert engine.answer([engine.prepare(prepared)])[0].predictions == engine.classify(noise()).predictions
        with pytest.raises(TensorError, match=r"of shape \(3, 31, 32\); this model takes \(3, 32, 32\)"):
            engine.prepare(prepared[:, 1:])

    def test_logits_are_what_the_probabilities_are_made_of(self, engine):
        answer = engine.classify(noise(), top_k=7)
        shares = softmax(answer.logits.astype(np.float64))
        assert {p.index: p.probability for p in answer.predictions} == pytest.approx(dict(enumerate(shares)))
