"""Decodes image files to pixels and prepares the pixels as a network's input. Imports no torch."""

from hubserve.preprocess.decode import MAX_PIXELS, convert_to_rgb, decode_image, decode_pixels
from hubserve.preprocess.image_input import ImageInput, input_pixels
from hubserve.preprocess.preprocess import Fit, Preprocess

__all__ = ["MAX_PIXELS", "Fit", "ImageInput", "Preprocess", "convert_to_rgb", "decode_image", "decode_pixels", "input_pixels"]
