"""A small network, small images of three colours, and a recipe, for tests of fine-tuning."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image

from hubserve.data.scan import Item
from hubserve.export.model_source import arch_source
from hubserve.export.write_package import write_package
from hubserve.hub.registry import get_space
from hubserve.jobs.fine_tune_recipe import FineTuneRecipe
from hubserve.package.package import Package
from hubserve.preprocess import Preprocess
from hubserve.training.finetuning.new_head import NewHead, with_new_head
from hubserve.training.finetuning.square_images import SquareImages
from hubserve.training.seeding import seeded

COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40)}
SIZE = 32
PREPROCESS = Preprocess(input_size=SIZE, resize=SIZE)
SETTINGS = {"base_widths": (8, 8, 8, 8, 16, 16, 16, 16, 32), "num_labels": 5}


def write_images(folder: Path, count: int, *, seed: int = 0) -> list[Item]:
    """Noisy images, `count` of each colour, in one folder for each colour."""
    rng, items = np.random.default_rng(seed), []
    for label, (name, colour) in enumerate(COLOURS.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = rng.normal(colour, 30, (40, 36, 3)).clip(0, 255).astype(np.uint8)
            path = folder / name / f"{number}.png"
            Image.fromarray(pixels).save(path)
            items.append((path, label))
    return items


def write_model_and_parts(folder: Path, *, count: int = 12) -> Path:
    """The folder, with the package small/ and images in colours/train, `count` of each colour, and colours/test."""
    write_small_package(folder / "small")
    write_images(folder / "colours" / "train", count)
    write_images(folder / "colours" / "test", 5, seed=9)
    return folder


def write_model_and_images(folder: Path) -> Path:
    """The folder, with the package small/ and images in "My Colours"/."""
    write_small_package(folder / "small")
    write_images(folder / "My Colours", 12)
    return folder


def parts(folder: Path, count: int = 8) -> tuple[SquareImages, SquareImages]:
    """Training and validation images."""
    train, val = (write_images(folder / part, n, seed=n) for part, n in (("train", count), ("val", 4)))
    return SquareImages(train, PREPROCESS), SquareImages(val, PREPROCESS)


def start(classes: int = 3, space: str = "ProxylessNAS", settings: dict[str, Any] = SETTINGS) -> NewHead:
    """A network with random weights and a new head; always the same one."""
    made = get_space(space, settings)
    arch = made.random(Random(1))
    with seeded(1):
        model = made.freeze(arch).train()
        for _ in range(30):  # Statistics of batch norm as after a training.
            model(torch.randn(16, 3, SIZE, SIZE))
        model.eval()
    return with_new_head(made, arch, model.state_dict(), classes=classes)


def recipe(**changes: Any) -> FineTuneRecipe:
    """Three epochs of batches of eight, unless changed."""
    return FineTuneRecipe.model_validate({"epochs": 3, "batch_size": 8, **changes})


def write_small_package(folder: Path) -> Package:
    """Writes a package of the network of `start`, with 5 classes and random weights in its head."""
    space = get_space("ProxylessNAS", SETTINGS)
    source = arch_source(space, SETTINGS, space.random(Random(1)), name="small", preprocess=PREPROCESS)
    body = {name: tensor for name, tensor in start(classes=5).model.state_dict().items() if "classifier" not in name}
    source.model.load_state_dict(body, strict=False)
    return write_package(source, folder, formats=("onnx",))
