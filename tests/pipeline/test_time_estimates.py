"""Estimated durations of a fine-tuning, on small images and a small network."""

from __future__ import annotations

import json

import pytest
import torch

from hubserve import home
from hubserve.jobs import FineTuneJob
from hubserve.pipeline import time_estimates
from hubserve.pipeline.image_parts import load_parts
from hubserve.pipeline.time_estimates import estimate_export, estimate_seconds, note_export
from tests.training.finetuning.small import PREPROCESS, recipe, start, write_images


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("colours")
    write_images(folder, 20)
    job = FineTuneJob.model_validate(
        {"name": "x", "start": {"model": "y"}, "data": {"name": "folder", "folder": str(folder)}, "images": {"size": 32}}
    )
    return load_parts(folder, job, PREPROCESS)


def estimated(tmp_path, parts, model=None, **budget):
    return estimate_seconds(
        model or start().model,
        parts,
        recipe(**budget),
        formats=("onnx",),
        profile_seconds=7.0,
        folder=tmp_path / "features",
    )


def test_each_part_has_an_estimate(tmp_path, parts):
    found = estimated(tmp_path, parts)
    assert list(found) == ["features", "fine-tune", "test", "export", "profile"]
    assert all(seconds > 0 for seconds in found.values())
    assert found["fine-tune"] > found["features"]
    assert found["profile"] == 7.0


def test_a_budget_of_time_is_the_estimate_of_the_training(tmp_path, parts):
    assert estimated(tmp_path, parts, epochs=None, minutes=30)["fine-tune"] == 1800
    few = estimated(tmp_path, parts, epochs=1, minutes=30)["fine-tune"]
    assert few < estimated(tmp_path, parts, epochs=2000, minutes=30)["fine-tune"] <= 1800


def test_without_early_layers_there_are_no_features(tmp_path, parts):
    assert estimated(tmp_path, parts, early_layers="train")["features"] == 0


def test_the_measurement_changes_nothing(tmp_path, parts):
    model = start().model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(5)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    estimated(tmp_path, parts, model)
    assert torch.equal(torch.rand(3), drawn)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(tensor.is_contiguous() for tensor in model.state_dict().values())


def test_an_export_is_estimated_by_the_last_one_of_its_formats():
    small, large = torch.nn.Sequential(torch.nn.ReLU()), torch.nn.Sequential(*(torch.nn.ReLU() for _ in range(9)))
    assert estimate_export(large, ("onnx",)) == pytest.approx(5 * estimate_export(small, ("onnx",)))
    note_export(small, ("torchscript", "onnx"), 3.0)
    assert estimate_export(large, ("onnx", "torchscript")) == pytest.approx(15.0)
    assert estimate_export(large, ("onnx",)) == pytest.approx(10 * time_estimates.SECONDS_PER_MODULE["onnx"])


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"onnx": "many"}), json.dumps({"onnx": -1.0})])
def test_a_file_of_exports_that_is_corrupt_is_not_used(content):
    model = torch.nn.ReLU()
    usual = estimate_export(model, ("onnx",))
    home.home().mkdir()
    (home.home() / time_estimates.EXPORTS).write_text(content)
    assert estimate_export(model, ("onnx",)) == usual


def test_a_home_that_is_a_file_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "file"))
    note_export(torch.nn.ReLU(), ("onnx",), 3.0)
    assert estimate_export(torch.nn.ReLU(), ("onnx",)) > 0
