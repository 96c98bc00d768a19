"""Decodes image files of many formats to 8-bit RGB, and refuses those that are too large or take too much work."""

import warnings
from contextlib import suppress

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from hubserve.error_messages import clear_frames
from hubserve.errors import ImageError, ImageTooLargeError
from hubserve.preprocess.avif_limits import check_avif
from hubserve.preprocess.decode_limits import LimitedReads, check_scans, check_tiles
from hubserve.preprocess.pixel_count import pixel_count
from hubserve.preprocess.rgb_image import load_rgb, open_image, orientation

MAX_PIXELS = 50_000_000
"""Default limit of width x height for an image, checked before its pixels are decoded."""

MAX_SIDE = 65_535
"""Limit of width and of height in pixels; JPEG and GIF have the same one. It bounds the number of rows: Pillow needs memory and
time for each row."""


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decodes an image file and returns its image in mode "RGB", turned upright by its EXIF orientation.

    `hubserve.preprocess.rgb_image.load_rgb` says which values become black and white, and how transparent parts, corrupt EXIF
    data and a missing end marker are treated. Of an animation or of several pages, the first one is returned.

    Args:
        data: Content of the file.
        max_pixels: Limit of width x height.

    Raises:
        ImageTooLargeError: The image has more than `max_pixels` pixels, or more than `MAX_SIDE` on a side. It is raised before
            the pixels are decoded.
        ImageError: The file is not an image in one of `hubserve.preprocess.rgb_image.FORMATS`, is truncated, or would take too
            much work to decode (see `hubserve.preprocess.decode_limits` and `hubserve.preprocess.avif_limits`).
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
        ImageError: The file is not an image in one of `hubserve.preprocess.rgb_image.FORMATS`, is truncated, or would take too
            much work to decode (see `hubserve.preprocess.decode_limits` and `hubserve.preprocess.avif_limits`).
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
        image: Image in any mode. It is not changed, except that its pixels are loaded from its file and a transparent colour in
            its `info` is scaled like them. If it is upright and RGB without transparency, it is returned itself.
        max_pixels: Limit of width x height.

    Raises:
        ImageTooLargeError: The image has more than `max_pixels` pixels, or more than `MAX_SIDE` on a side.
        ImageError: The image is empty, or its file is truncated or corrupt.
    """
    _check_pixels(image, max_pixels)
    if 0 in image.size:
        raise ImageError(f"an image of {image.width} x {image.height} pixels is empty")
    try:
        return load_rgb(image)
    except Exception as error:  # Pillow's decoders raise almost anything.
        clear_frames(error)
        raise ImageError(f"not a readable image: {type(error).__name__}: {error}") from error


def _decoded(data: bytes, max_pixels: int) -> Image.Image:
    return load_rgb(_open(data, max_pixels))


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
        return image.format == "JPEG" and image.mode in ("RGB", "L") and orientation(image) == 1
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
        image = open_image(LimitedReads(data))
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
