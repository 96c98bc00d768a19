"""Decodes image files of many formats to 8-bit RGB, and refuses those that are too large or take too much work."""

import warnings
from contextlib import suppress
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from hubserve.error_messages import clear_frames
from hubserve.errors import ImageError, ImageTooLargeError
from hubserve.preprocess.avif_limits import check_avif
from hubserve.preprocess.decode_limits import LimitedReads, check_scans, check_tiles
from hubserve.preprocess.pixel_count import pixel_count

MAX_PIXELS = 50_000_000
"""Default limit of width x height for an image, checked before its pixels are decoded."""

MAX_SIDE = 65_535
"""Limit of width and of height in pixels; JPEG and GIF have the same one. It bounds the number of rows: Pillow needs memory and
time for each row."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
"""Names of the image formats that are read.

Pillow reads about forty more; some of them it decodes slowly in Python, and one (EPS) by another program."""

_ORIENTATION = 0x0112
"""The number of the EXIF tag that holds the orientation of an image; its value 1 means upright."""


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decodes an image file and returns its image in mode "RGB", turned upright by its EXIF orientation.

    Transparent parts become white. Grey images of 16 bits or floating point numbers are scaled to 8 bits. Of an animation or of
    several pages, the first one is returned.

    Args:
        data: Content of the file.
        max_pixels: Limit of width x height.

    Raises:
        ImageTooLargeError: The image has more than `max_pixels` pixels, or more than `MAX_SIDE` on a side. It is raised before
            the pixels are decoded.
        ImageError: The file is not an image in one of `FORMATS`, is truncated, or would take too much work to decode (see
            `hubserve.preprocess.decode_limits` and `hubserve.preprocess.avif_limits`).
    """
    try:
        return _decoded(data, max_pixels)
    except Exception as error:  # Pillow's decoders raise almost anything on hostile bytes.
        clear_frames(error)
        if isinstance(error, ImageError):
            raise
        raise _refusal(error, len(data), max_pixels) from error


def decode_pixels(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decodes an image file and returns an array with the pixels of the image that `decode_image` returns.

    For an upright grey or RGB JPEG it is faster than `decode_image`.

    Args:
        data: Content of the file.
        max_pixels: Limit of width x height.

    Returns:
        (height, width, 3) uint8, RGB.

    Raises:
        ImageTooLargeError: The image has more than `max_pixels` pixels, or more than `MAX_SIDE` on a side. It is raised before
            the pixels are decoded.
        ImageError: The file is not an image in one of `FORMATS`, is truncated, or would take too much work to decode (see
            `hubserve.preprocess.decode_limits` and `hubserve.preprocess.avif_limits`).
    """
    if _is_plain_jpeg(data, max_pixels):
        # It is stricter than Pillow, which may read the image all the same, or says what is wrong.
        with suppress(ValueError):
            pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB")
            return pixels
    return np.asarray(decode_image(data, max_pixels=max_pixels))


def convert_to_rgb(image: Image.Image, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Converts an image of Pillow to mode "RGB", turned upright, in the same way as `decode_image` converts that of a file.

    Args:
        image: Image in any mode. It is not changed, except that its pixels are loaded from its file. If it is upright and RGB
            without transparency, it is returned itself.
        max_pixels: Limit of width x height.

    Raises:
        ImageTooLargeError: The image has more than `max_pixels` pixels, or more than `MAX_SIDE` on a side.
        ImageError: The image is empty, or its file is truncated or corrupt.
    """
    _check_pixels(image, max_pixels)
    if 0 in image.size:
        raise ImageError(f"an image of {image.width} x {image.height} pixels is empty")
    try:
        image.load()
        upright = image if image.getexif().get(_ORIENTATION, 1) == 1 else ImageOps.exif_transpose(image)
        return upright if _is_plain_rgb(upright) else _to_rgb(upright)
    except Exception as error:  # Pillow's decoders raise almost anything.
        clear_frames(error)
        raise ImageError(f"not a readable image: {type(error).__name__}: {error}") from error


def _decoded(data: bytes, max_pixels: int) -> Image.Image:
    image = _open(data, max_pixels)
    image.load()
    # In place, and no copy of what is RGB already: each copy of a large image takes 200 MB.
    ImageOps.exif_transpose(image, in_place=True)
    return image if _is_plain_rgb(image) else _to_rgb(image)


def _is_plain_rgb(image: Image.Image) -> bool:
    return image.mode == "RGB" and "transparency" not in image.info


def _refusal(error: Exception, size: int, max_pixels: int) -> ImageError:
    if isinstance(error, Image.DecompressionBombError):
        # Pillow's limit, reached while it opens the image: far above ours by default.
        limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
        return ImageTooLargeError(f"the image has too many pixels ({error}); at most {limit:,} are allowed: send a smaller one")
    reason = "of no known kind" if isinstance(error, UnidentifiedImageError) else f"{type(error).__name__}: {error}"
    return ImageError(
        f"{size} bytes that are not a readable image ({reason}); send a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or binary PPM"
    )


def _is_plain_jpeg(data: bytes, max_pixels: int) -> bool:
    """Returns whether a file is an upright grey or RGB JPEG, for which simplejpeg and Pillow decode the same pixels.

    They do so because both use libjpeg-turbo.

    Raises:
        ImageTooLargeError: The image has too many pixels.
        ImageError: The file is refused for another reason; see `_open`.
    """
    if data[:3] != b"\xff\xd8\xff":
        return False
    try:
        image = _open(data, max_pixels)
        return image.format == "JPEG" and image.mode in ("RGB", "L") and image.getexif().get(_ORIENTATION, 1) == 1
    except ImageError:
        raise
    except Exception:  # Pillow's parsers raise almost anything on hostile bytes; `decode_image` reports what is wrong.
        return False


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Opens an image by its header, without decoding its pixels, and checks the limits of its size and parts.

    Raises:
        ImageTooLargeError: The image has too many pixels.
        ImageError: The file is refused for another reason.
        Exception: Pillow cannot read the file; the exception may be of almost any class.
    """
    if data[:2] in (b"P1", b"P2", b"P3"):
        raise ImageError("a PPM whose numbers are text; send it in its binary format, or as PNG")
    if data[:2] in (b"II", b"MM"):
        check_tiles(data, max_pixels)
    # Our own limit replaces Pillow's, which warns first and raises later.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(LimitedReads(data), formats=FORMATS)
    _check_pixels(image, max_pixels)
    counted = pixel_count(data)
    if counted is not None and image.width * image.height > counted:
        raise ImageError(f"an image of {image.width} x {image.height} pixels whose header says {counted:,}; save it anew")
    if image.format == "AVIF" and counted is not None:
        check_avif(data, counted)
    if data[:2] == b"\xff\xd8":
        check_scans(data, image.width * image.height, max_pixels)
    return image


def _check_pixels(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        raise ImageTooLargeError(
            f"the image has {width} x {height} pixels; at most {max_pixels:,} are allowed, and {MAX_SIDE:,} on a side: "
            "send a smaller one"
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _grey_to_8_bits(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        # Pillow converts La to LA only.
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _grey_to_8_bits(image: Image.Image) -> Image.Image:
    """Converts a grey image of 16 or 32 bits, or of floating point numbers, to 8 bits.

    The values are divided by the largest one that their type (or, for 32 bits and floating point, the image) suggests: 65535,
    255 or 1. Pillow's own conversion would clip all values above 255.
    """
    values = np.asarray(image)
    largest = float(values.max(initial=0))
    if image.mode == "F":
        top = 1.0 if largest <= 1.0 else 255.0
    else:
        top = 65535.0 if largest > 255 or image.mode.startswith("I;16") else 255.0
    grey = np.empty(values.shape, np.uint8)
    # A part at a time: all of a large image in double precision would take a gigabyte.
    for part, result in zip(_parts(values), _parts(grey), strict=True):
        with np.errstate(over="ignore"):  # Infinity becomes the largest number there is.
            result[:] = np.clip(np.nan_to_num(part.astype(np.float64)) / top * 255.0, 0, 255).round()
    return Image.fromarray(grey)


def _parts(values: NDArray[Any]) -> list[NDArray[Any]]:
    """Returns the flattened array in consecutive parts of at most 2**20 values each."""
    flat = values.reshape(-1)
    return [flat[first : first + 2**20] for first in range(0, flat.size, 2**20)]
