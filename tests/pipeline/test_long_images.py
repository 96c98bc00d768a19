"""Images of 100 x 600 pixels whose class is at one end: `pad` or `squash` is proposed and learns them, `crop` cannot."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageDraw

from hubserve import jobs, store
from hubserve.export.rebuild_model import rebuild_model
from hubserve.pipeline import resolve_job, run_job
from hubserve.preprocess import decode_image
from hubserve.service.engine import Engine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SHAPES = ("circle", "cross", "square")


def draw(shape: str, rng: np.random.Generator) -> Image.Image:
    """A noisy image, 600 wide and 100 high, with the shape in its leftmost 90 pixels."""
    image = Image.fromarray(rng.integers(90, 166, (100, 600, 3), dtype=np.uint8))
    pen, (x, y) = ImageDraw.Draw(image), rng.integers(8, 22, 2).tolist()
    box = (x, y, x + 60, y + 60)
    if shape == "circle":
        pen.ellipse(box, fill="white")
    elif shape == "square":
        pen.rectangle(box, fill="black")
    else:
        pen.line(box, fill="red", width=14)
        pen.line((x, y + 60, x + 60, y), fill="red", width=14)
    return image


@pytest.fixture(scope="module")
def long_images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    for part, count in (("train", 20), ("test", 10)):
        for number, shape in enumerate(SHAPES):
            (folder / part / shape).mkdir(parents=True)
            rng = np.random.default_rng(100 * number + count)
            for i in range(count):
                draw(shape, rng).save(folder / part / shape / f"{i}.png")
    return folder


def definition(folder: Path, **images: object) -> str:
    return yaml.safe_dump(
        {
            "name": "long",
            "start": {"model": "efficientnet-lite0"},
            "data": {"name": "folder", "folder": str(folder)},
            "images": {"size": 96, **images},
            "recipe": {"epochs": 3, "batch_size": 16, "augment": {"crop": 1.0, "flip": False, "mixup": 0}},
            "publish": {"formats": ["onnx"], "profile_seconds": 0.3},
        }
    )


def test_the_fit_is_proposed(long_images):
    resolved = resolve_job(jobs.parse_job(definition(long_images), where="it"), where=Path.cwd())
    assert resolved.preprocess.fit == "squash"
    assert any("fit = squash: 100% of the 90 images" in note for note in resolved.notes)


def test_what_is_proposed_learns_them_and_crop_does_not(long_images):
    fitted = run_job(jobs.create(definition(long_images)))
    padded = run_job(jobs.create(definition(long_images, fit="pad")))
    cropped = run_job(jobs.create(definition(long_images, fit="crop")))
    assert fitted.test_acc >= 0.9
    assert padded.test_acc >= 0.7
    assert cropped.test_acc <= 0.6  # By chance it is 0.33.
    package = store.resolve(fitted.published).package
    path = long_images / "test" / "cross" / "0.png"
    spec = importlib.util.spec_from_file_location("run_onnx_of_long", package.path / "run_onnx.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    (by_script,) = script.classify(package.path, [path], 3).values()
    by_service = {p.label: p.probability for p in Engine(package).classify(path.read_bytes()).predictions}
    batch = package.manifest.preprocess.reference(decode_image(path.read_bytes()))[None]
    with torch.no_grad():
        logits = rebuild_model(package)(torch.from_numpy(batch))[0]
    eager = (logits / (package.manifest.temperature or 1.0)).softmax(0).tolist()
    assert dict(zip(package.labels, eager, strict=True)) == pytest.approx(by_service, rel=1e-2, abs=1e-4)
    assert dict(by_script) == pytest.approx(by_service, rel=1e-2, abs=1e-4)
    assert max(by_service, key=by_service.get) == "cross"
