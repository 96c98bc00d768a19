"""From the bytes of a picture to the tensor that a network was trained on."""

from __future__ import annotations

from hubserve.preprocess.decode import MAX_PIXELS, decode_image, decode_pixels
from hubserve.preprocess.record import Preprocess

__all__ = ["MAX_PIXELS", "Preprocess", "decode_image", "decode_pixels"]
