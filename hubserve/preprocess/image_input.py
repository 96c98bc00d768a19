"""Turns the images that Python callers pass (a path, the bytes of a file, an array, or an image of Pillow) into pixels."""

import os

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hubserve.errors import ImageError
from hubserve.image_file import read_image_file
from hubserve.preprocess.decode import MAX_PIXELS, convert_to_rgb, decode_pixels

ImageInput = str | os.PathLike[str] | bytes | NDArray[np.uint8] | Image.Image
"""An image: the path of an image file, the content of an image file, an array of pixels, or an image of Pillow.

An array is uint8 and has the shape (height, width, 3) for RGB, (height, width, 4) for RGB with opacity (alpha), or
(height, width) or (height, width, 1) for grey."""


def input_pixels(image: ImageInput, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Returns the pixels of an image, given in any of the ways that `ImageInput` names: (height, width, 3) uint8, RGB.

    Files and images of Pillow are turned upright by their EXIF orientation. Transparent parts become white.

    Args:
        image: The image, as `ImageInput` describes.
        max_pixels: Limit of width x height.

    Raises:
        ImageTooLargeError: The image has more than `max_pixels` pixels, or more than 65,535 on a side.
        ImageError: A file cannot be read, its content is not a readable image, an array is empty or does not have a shape and
            the type that `ImageInput` names, or `image` is of another type. If `image` is a path, the message names it.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return decode_pixels(bytes(image), max_pixels=max_pixels)
    if isinstance(image, str | os.PathLike):
        return _file_pixels(image, max_pixels)
    return np.asarray(convert_to_rgb(as_image(image), max_pixels=max_pixels))


def as_image(image: NDArray[np.uint8] | Image.Image) -> Image.Image:
    """Converts an array of pixels to an image of Pillow; returns an image of Pillow unchanged.

    Raises:
        ImageError: The array is empty or does not have a shape and the type that `ImageInput` names, or `image` is neither an
            array nor an image of Pillow.
    """
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, np.ndarray):
        return _array_image(image)
    raise ImageError(
        f"an image is a path, the bytes of a file, an array of pixels or an image of Pillow, and not a {type(image).__name__}"
    )


def _file_pixels(path: str | os.PathLike[str], max_pixels: int) -> NDArray[np.uint8]:
    data = read_image_file(path)
    try:
        return decode_pixels(data, max_pixels=max_pixels)
    except ImageError as error:
        raise type(error)(f"{os.fspath(path)}: {error}") from error


def _array_image(array: NDArray[np.uint8]) -> Image.Image:
    planes = array.shape[2] if array.ndim == 3 else None
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or planes not in (None, 1, 3, 4):
        raise ImageError(
            f"an array of shape {array.shape} and type {array.dtype}; expected pixels (height, width, 3) uint8 in RGB, or with "
            f"1 or 4 values for each pixel{_hint(array)}"
        )
    if 0 in array.shape:
        raise ImageError(f"an array of shape {array.shape} is empty")
    return Image.fromarray(np.ascontiguousarray(array[:, :, 0] if planes == 1 else array))


def _hint(array: NDArray[np.uint8]) -> str:
    if array.ndim == 4:
        return "; several images are a list of arrays: list(array)"
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.dtype == np.uint8:
        return "; planes first become planes last by array.transpose(1, 2, 0)"
    if array.dtype.kind == "f" and array.ndim in (2, 3):
        return "; values in [0, 1] become such pixels by (array * 255).round().astype(np.uint8)"
    return ""
