"""Photos that may be shipped, from scikit-image, and small ones made up."""

from __future__ import annotations

import io

import numpy as np
import skimage.data
from PIL import Image


def photo(name: str, kind: str = "JPEG") -> bytes:
    """chelsea (a cat), coffee (an espresso), ... as a file's bytes."""
    return encoded(Image.fromarray(getattr(skimage.data, name)()), kind)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def noise(size: int = 40, seed: int = 0) -> bytes:
    return encoded(Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)))
