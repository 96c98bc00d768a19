"""Whatever people send as a picture, as 8-bit RGB."""

from __future__ import annotations

import io
import warnings

import numpy as np
import simplejpeg
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from hubserve.errors import ImageError, ImageTooLargeError, clear_frames

MAX_PIXELS = 50_000_000
"""Default limit of width x height for a picture, checked before its pixels are decoded."""

_ORIENTATION = 0x0112
"""EXIF tag; 1 is upright."""


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture in `data` as 8-bit RGB, turned upright by its EXIF orientation; the first frame of an animation.

    Transparent parts are laid on white; 16-bit and floating point greys are brought to 8 bits by their range.

    Raises:
        ImageTooLargeError: more than `max_pixels` pixels; found out before they are decoded.
        ImageError: not a picture that Pillow reads, or broken off.
    """
    try:
        return _decoded(data, max_pixels)
    except Exception as error:  # Pillow's decoders raise almost anything on hostile bytes.
        clear_frames(error)
        if isinstance(error, ImageError):
            raise
        raise _refusal(error, len(data), max_pixels) from error


def decode_pixels(data: bytes, *, max_pixels: int = MAX_PIXELS) -> torch.Tensor:
    """The same pixels as those of `decode_image`, sooner where the picture is a plain JPEG.

    Returns:
        (3, height, width) uint8.

    Raises:
        ImageTooLargeError: more than `max_pixels` pixels; found out before they are decoded.
        ImageError: not a picture that Pillow reads, or broken off.
    """
    if _is_plain_jpeg(data, max_pixels):
        try:
            return torch.from_numpy(simplejpeg.decode_jpeg(data, "RGB")).permute(2, 0, 1)
        except ValueError:
            pass  # It is stricter than Pillow, which may read the picture all the same, or says what is wrong.
    return torch.from_numpy(np.array(decode_image(data, max_pixels=max_pixels))).permute(2, 0, 1)


def _decoded(data: bytes, max_pixels: int) -> Image.Image:
    image = _open(data, max_pixels)
    image.load()
    return _to_rgb(ImageOps.exif_transpose(image))


def _refusal(error: Exception, size: int, max_pixels: int) -> ImageError:
    if isinstance(error, Image.DecompressionBombError):
        # Pillow's limit, met while it opens the picture: far above ours by default.
        limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
        return ImageTooLargeError(
            f"the picture has too many pixels ({error}); at most {limit:,} are allowed: send a smaller one"
        )
    reason = "of no known kind" if isinstance(error, UnidentifiedImageError) else f"{type(error).__name__}: {error}"
    return ImageError(f"{size} bytes that are not a readable picture ({reason}); send a JPEG, PNG, WebP, GIF, BMP or TIFF")


def _is_plain_jpeg(data: bytes, max_pixels: int) -> bool:
    """Whether it is upright, and grey or RGB: then libjpeg-turbo, which both decoders use, gives what Pillow makes of it."""
    if data[:3] != b"\xff\xd8\xff":
        return False
    try:
        image = _open(data, max_pixels)
        return image.format == "JPEG" and image.mode in ("RGB", "L") and image.getexif().get(_ORIENTATION, 1) == 1
    except ImageTooLargeError:
        raise
    except Exception:  # Pillow's parsers raise almost anything on hostile bytes; `decode_image` tells what is wrong.
        return False


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Reads the header alone."""
    # Our own limit replaces Pillow's, which warns first and raises later.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(io.BytesIO(data))
    _check_pixels(image, max_pixels)
    return image


def _check_pixels(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLargeError(
            f"the picture has {width} x {height} pixels; at most {max_pixels:,} are allowed: send a smaller one"
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _grey_to_8_bits(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _grey_to_8_bits(image: Image.Image) -> Image.Image:
    """Pillow clips 16-bit greys to 255 when it converts them; a picture keeps its contrast when divided by its type's range."""
    values = np.asarray(image, dtype=np.float64)
    if image.mode == "F":
        top = 1.0 if values.max(initial=0.0) <= 1.0 else 255.0
    else:
        top = 65535.0 if values.max(initial=0.0) > 255 or image.mode.startswith("I;16") else 255.0
    return Image.fromarray(np.clip(np.nan_to_num(values) / top * 255.0, 0, 255).round().astype(np.uint8))
