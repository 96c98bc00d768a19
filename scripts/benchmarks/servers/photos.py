"""The pictures that servers are measured with, and the package."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image
from skimage import data as photos

from hubserve.export.model_source import card_source
from hubserve.export.write_package import write_package
from hubserve.hub import load_card
from hubserve.package.package import Package


def pictures() -> list[bytes]:
    """Photos of 500 x 375, as JPEG of 30 to 60 kB."""
    made = []
    for name in ("chelsea", "coffee", "astronaut", "rocket", "cat"):
        buffer = io.BytesIO()
        Image.fromarray(getattr(photos, name)()).resize((500, 375)).save(buffer, "JPEG", quality=90)
        made.append(buffer.getvalue())
    return made


def package_of(model: str, folder: Path) -> Package:
    """A pre-searched model with random weights, which change no timing."""
    return write_package(card_source(load_card(model), pretrained=False), folder / model, formats=("onnx",))
