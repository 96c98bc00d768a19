"""From the bytes of an image file to the array that a network was trained on. Imports no torch."""

from hubserve.preprocess.decode import MAX_PIXELS, decode_image, decode_pixels
from hubserve.preprocess.preprocess import Fit, Preprocess

__all__ = ["MAX_PIXELS", "Fit", "Preprocess", "decode_image", "decode_pixels"]
