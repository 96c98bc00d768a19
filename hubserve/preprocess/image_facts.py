"""Finds the size and the special properties of an image file, and whether the service can read it."""

import io
import warnings
from typing import NamedTuple

from PIL import Image
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from hubserve.errors import ImageError
from hubserve.preprocess.decode import MAX_PIXELS, decode_pixels
from hubserve.preprocess.rgb_image import open_image, orientation

_TURNED = (5, 6, 7, 8)
"""Values of the EXIF orientation that swap width and height."""


_SEVERAL = ("GIF", "WEBP", "PNG", "AVIF", "TIFF")


class ImageFacts(NamedTuple):
    """Facts of an image file.

    Attributes:
        width: Width of the upright image in pixels.
        height: Height of the upright image in pixels.
        kinds: Special properties of the image, all of which the service supports: "16-bit", "floating point", "grey",
            "palette", "CMYK", "transparent", "rotated" (turned or mirrored by its EXIF orientation), "animated" (the first
            frame is used) and "several pages" (the first page is used).
    """

    width: int
    height: int
    kinds: tuple[str, ...]


def image_facts(data: bytes, *, decode: bool = True, max_pixels: int = MAX_PIXELS) -> ImageFacts:
    """Returns the size and the special properties of an image file.

    Args:
        data: Content of the file. If `decode` is False, the beginning of the file is enough for some formats.
        decode: Whether to decode all pixels too, which finds truncated files. If False, only the header is read.
        max_pixels: Limit of width x height; it is only checked if `decode` is True.

    Raises:
        ImageTooLargeError: `decode` is True, and the image has more than `max_pixels` pixels, or more than 65,535 on a side.
        ImageError: The file is not an image that the service reads, or it is truncated.
    """
    if decode:
        decode_pixels(data, max_pixels=max_pixels)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_image(io.BytesIO(data)) as image:
                return _facts(image)
    except Exception as error:  # Pillow's parsers raise almost anything on hostile bytes.
        raise ImageError(f"its header cannot be read ({type(error).__name__}: {error})") from error


def _facts(image: Image.Image) -> ImageFacts:
    mode, kinds = image.mode, []
    if mode.startswith("I"):
        kinds.append("16-bit")
    if mode == "F":
        kinds.append("floating point")
    if mode in ("L", "LA", "1", "I", "F") or mode.startswith("I;"):
        kinds.append("grey")
    if mode in ("P", "PA"):
        kinds.append("palette")
    if mode == "CMYK":
        kinds.append("CMYK")
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        kinds.append("transparent")
    turned = orientation(image)
    if turned != 1:
        kinds.append("rotated")
    # JPEGs of phones often hold a second image, which nobody looks at.
    if image.format in _SEVERAL and getattr(image, "is_animated", False):
        kinds.append("several pages" if image.format == "TIFF" else "animated")
    width, height = image.size
    if isinstance(image, TiffImageFile):  # Its attribute is the size after it is turned, in later versions of Pillow.
        width, height = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
    return ImageFacts(*((height, width) if turned in _TURNED else (width, height)), tuple(kinds))
