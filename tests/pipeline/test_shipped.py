"""The shipped jobs whose data nobody ships, run for real: with their layouts of data, a few images, and short budgets."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from hubserve import jobs, store
from hubserve.pipeline import run_job
from hubserve.service.engine import Engine
from tests.pipeline.test_resolve import SHIPPED

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGENET = {"n01440764": "tench", "n01443537": "goldfish", "n01484850": "great white shark"}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> None:
    """Where the jobs are submitted, from which they look for data/."""
    monkeypatch.chdir(tmp_path)


def write_images(folder: Path, count: int, size: tuple[int, int], ending: str, seed: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for place in range(count):
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{place}.{ending}")


def shortened(name: str, **changes: Any) -> str:
    """The shipped definition; recipes of one epoch, two trials, and a quick profile."""
    given = yaml.safe_load(SHIPPED[name].read_text())
    quick = {"epochs": 1, "batch_size": 4}
    given["recipe"] |= quick
    given["retrain"] |= quick
    given["publish"] |= {"profile_seconds": 0.5}
    return yaml.safe_dump(given | {"budget": {"trials": 2}} | changes)


def published(definition: str) -> tuple[jobs.JobStatus, store.StoredModel]:
    run = jobs.create(definition)
    with jobs.hold(run):
        status = run_job(run)
    assert (status.state, status.trials) == ("done", 2)
    assert [row.state for row in status.history if row.state != "infeasible"] == ["complete"] * 2
    return status, store.resolve(status.published)


def label_of(model: store.StoredModel, size: int) -> str:
    """What the model, as it is served, says of a grey image."""
    file = io.BytesIO()
    Image.new("RGB", (size, size), "grey").save(file, "PNG")
    return Engine(model.package).classify(file.getvalue()).predictions[0].label


def write_cifar(folder: Path) -> None:
    """A few images of each class, of noise."""
    for seed, name in enumerate(CIFAR):
        write_images(folder / "train" / name, 8, (32, 32), "png", seed)
        write_images(folder / "test" / name, 2, (32, 32), "png", 100 + seed)


def test_cifar10_cpu(tmp_path):
    """The slowest network meets this limit anywhere."""
    write_cifar(tmp_path / "data" / "cifar10")
    status, model = published(shortened("cifar10_cpu", constraints={"latency_ms": 1000}))
    assert status.published.startswith("cifar10-cpu:")
    assert label_of(model, 32) in CIFAR
    assert model.package.manifest.provenance.weights == "fine-tuned"
    assert 0 < status.best.values["latency_ms"] <= 1000


@pytest.mark.long
def test_cifar10(tmp_path):
    write_cifar(tmp_path / "data" / "cifar10")
    status, model = published(shortened("cifar10"))
    assert status.published.startswith("cifar10:")
    assert all(row.values["params"] <= 1_500_000 for row in status.history if row.state == "complete")
    assert set(model.package.manifest.exports) == {"onnx", "pt2"}
    assert model.package.manifest.provenance.search["test_images"] == 20
    assert label_of(model, 32) in CIFAR


@pytest.mark.long
def test_imagenet(tmp_path):
    """On a Ray cluster of this machine, images read by other processes; a machine without GPUs gives trials none."""
    pytest.importorskip("ray")
    for seed, name in enumerate(IMAGENET):
        write_images(tmp_path / "data" / "imagenet" / "train" / name, 10, (80, 60), "jpg", seed)
        write_images(tmp_path / "data" / "imagenet" / "val" / name, 2, (60, 80), "jpg", 100 + seed)
    data = yaml.safe_load(SHIPPED["imagenet"].read_text())["data"] | {"workers": 1}
    executor = {"kind": "ray", "workers": 1, "cpus_per_trial": 1}
    status, model = published(shortened("imagenet", data=data, executor=executor))
    assert status.published.startswith("imagenet-mobile:")
    assert all(row.values["macs"] <= 3.0e8 for row in status.history if row.state == "complete")
    assert set(model.package.manifest.exports) == {"onnx", "pt2"}
    assert label_of(model, 300) in IMAGENET.values()
