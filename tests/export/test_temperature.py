"""The temperature of a package: the same probabilities by the service's engine, its script, and the inference protocol."""

from __future__ import annotations

import importlib.util
import json
from random import Random

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

from hubserve.accuracy_from_logits import accuracy_report
from hubserve.export.model_source import arch_source, package_source
from hubserve.export.write_package import write_package
from hubserve.hub.registry import get_space
from hubserve.package.package import read_package
from hubserve.service.engine import Engine
from hubserve.service.inference_answer import write_answer
from hubserve.service.inference_protocol import InferRequest, RequestOutput

SETTINGS = {"stem_out_channels": 4, "num_modules_per_stack": 1, "num_labels": 3}
LABELS = ("cat", "dog", "ship")


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    space = get_space("NasBench201", SETTINGS)
    source = arch_source(space, SETTINGS, space.random(Random(0)), name="warm", class_labels=LABELS)
    report = accuracy_report(np.eye(3), np.arange(3), LABELS, ["a", "b", "c"], dataset="photos", temperature=2.5)
    warm = source.__class__(**{**vars(source), "temperature": 2.5, "accuracy": report})
    return write_package(warm, tmp_path_factory.mktemp("warm") / "package", formats=("onnx",))


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    return path


def expected(package, photo) -> dict[str, float]:
    batch = package.manifest.preprocess.reference(Image.open(photo).convert("RGB"))[None]
    return dict(zip(LABELS, softmax(package.runner("onnx")(batch)[0] / 2.5), strict=True))


def test_the_engine(package, photo):
    found = Engine(package).classify(photo.read_bytes()).predictions
    assert {p.label: p.probability for p in found} == pytest.approx(expected(package, photo), rel=1e-4)


def test_the_script(package, photo):
    spec = importlib.util.spec_from_file_location("run_onnx_of_package", package.path / "run_onnx.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (found,) = module.classify(package.path, [photo], 3).values()
    assert dict(found) == pytest.approx(expected(package, photo), rel=1e-4)


def test_the_inference_protocol():
    logits = np.array([[1.0, 2.0, 4.0]], np.float32)
    request = InferRequest(inputs=[], outputs=[RequestOutput(name="probabilities")])
    answer = json.loads(write_answer(request, {"model_name": "warm"}, logits, LABELS, max_bytes=10_000, temperature=2.5).body)
    assert answer["outputs"][0]["data"] == pytest.approx(softmax(logits[0] / 2.5).tolist(), rel=1e-5)


def test_the_figures_are_in_the_package_and_travel_when_it_is_exported_again(package, tmp_path):
    assert package.manifest.temperature == 2.5
    assert package.accuracy.dataset == "photos"
    assert package.manifest.test.images == 3
    again = write_package(package_source(package), tmp_path / "again", formats=("onnx",))
    assert read_package(again.path).accuracy == package.accuracy
    assert again.manifest.temperature == 2.5
