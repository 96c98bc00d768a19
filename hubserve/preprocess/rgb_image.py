"""Reads image files with Pillow and converts them to upright 8-bit RGB: the decisions that every decoder of hubserve shares.

Training, evaluation and the service come here through `hubserve.preprocess.decode`, which adds limits. `run_onnx.py` of a
package holds the source of this module (`hubserve.export.packaged_script`), so it imports only numpy and Pillow.
"""

import io
import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
"""Names of the image formats that are read.

Pillow reads about forty more; some of them it decodes slowly in Python, and one (EPS) by another program."""

REQUIRE_JPEG_END = "HUBSERVE_REQUIRE_JPEG_END"
"""Environment variable; 1 (or true, yes, on) refuses a JPEG that has all its pixels but no end marker."""

ORIENTATION = 0x0112
"""Number of the EXIF tag that holds the orientation of an image; its value 1 means upright."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> operation that turns the image upright; all other values mean upright."""

PHOTOMETRIC, BITS, SAMPLE_FORMAT = 262, 258, 339
"""Numbers of TIFF tags: whether 0 is white (value 0), bits of a sample, and its type (1 unsigned, 2 signed, 3 float)."""

JPEG_END = b"\xff\xd9"

_AVIF_EXIF = re.compile(rb"(infe(?:\x02.{7}|\x03.{9}))Exif", re.DOTALL)
"""The entry of EXIF data in the list of an AVIF file's items."""

_EXIF = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
"""Keys of `Image.info` from which Pillow reads the orientation."""


def read_rgb_file(path: Path) -> Image.Image:
    """Reads an image file and returns its first image in mode "RGB", as `load_rgb` converts it.

    Raises:
        OSError: The file cannot be read, is in none of `FORMATS`, or is truncated.
        Exception: Its bytes are corrupt, or it has more pixels than Pillow allows; the exception may be of almost any class.
    """
    return load_rgb(open_image(io.BytesIO(path.read_bytes())))


def open_image(stream: io.BytesIO) -> Image.Image:
    """Opens an image file in one of `FORMATS` by its header, without decoding its pixels.

    Raises:
        Exception: The bytes are no such file, or corrupt; Pillow's parsers raise exceptions of almost any class.
    """
    try:
        return Image.open(stream, formats=FORMATS)
    except Exception:
        data = stream.getvalue()
        # libavif refuses a file whose EXIF data are corrupt, but ignores items of another kind.
        without_exif = _AVIF_EXIF.sub(rb"\1none", data) if data[4:8] == b"ftyp" else data
        if without_exif == data:
            raise
        return Image.open(type(stream)(without_exif), formats=FORMATS)


def load_rgb(image: Image.Image) -> Image.Image:
    """Decodes the pixels of an image that Pillow has opened and returns it in mode "RGB", upright by its EXIF orientation.

    The range of grey values follows from their type alone, never from the values of an image; values outside of the range
    become black or white:

    - unsigned integers: 0 is black, and the largest number of their bits is white: 255, 4095 for 12 bits, 65535 for 16;
    - signed integers of 16 bits: 0 is black, 32767 is white;
    - integers of 32 bits, and mode "I" of Pillow: 0 is black, 65535 is white, because 16-bit files are read in this mode, too;
    - floating point numbers: 0 is black, 1 is white; NaN is black.

    In a TIFF whose 0 is white, black and white are exchanged. Colours of 16 bits keep their upper 8 bits. Transparent parts lie
    on white. EXIF data that cannot be read turn nothing. A JPEG that has all its pixels but no end marker is read, unless the
    environment variable HUBSERVE_REQUIRE_JPEG_END is 1, true, yes or on. Pillow converts everything else.

    Args:
        image: Image of Pillow, whose pixels may still be undecoded in its file. They are loaded, and a transparent colour in
            its `info` is scaled like them.

    Raises:
        Exception: The file is truncated or corrupt; Pillow's decoders raise exceptions of almost any class.
    """
    _scale_transparency(image)
    try:
        image.load()
    except OSError:
        whole = None if _requires_jpeg_end() or image.format not in ("JPEG", "MPO") else _completed_jpeg(image)
        if whole is None:
            raise
        image = whole
    turn, kind = TURNS.get(orientation(image)), _grey_kind(image)
    if turn is not None:
        image = image.transpose(turn)
        for key in _EXIF:
            image.info.pop(key, None)
    # No copy of what is upright and RGB already: each copy of a large image takes 200 MB.
    return _to_rgb(image, kind)


def orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation of an image, 2 to 8; 1 if it is upright, or its EXIF data cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Corrupt EXIF data", UserWarning)
            found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow's parser raises almost anything on corrupt EXIF data.
        return 1
    return found if isinstance(found, int) and found in TURNS else 1


def _requires_jpeg_end() -> bool:
    return os.environ.get(REQUIRE_JPEG_END, "").lower() in ("1", "true", "t", "yes", "y", "on")


def _completed_jpeg(image: Image.Image) -> Image.Image | None:
    """Returns the image of a JPEG that lacks only its end marker; None if it lacks more than that.

    libjpeg fills in missing data without an error. So the file is decoded twice, once with other data before the end marker:
    if pixels are missing, the two images differ.

    Args:
        image: The image, which Pillow has opened and could not load.
    """
    stream = getattr(image, "fp", None)
    if stream is None:
        return None
    stream.seek(0)
    # A single 0xff is half of the end marker; before other data it would begin another one.
    data = stream.read().removesuffix(b"\xff")
    filler = np.random.default_rng(0).integers(0, 255, 256, dtype=np.uint8).tobytes()  # None is 0xff, where a marker begins.
    found, other = (Image.open(io.BytesIO(data + end), formats=("JPEG",)) for end in (JPEG_END, filler + JPEG_END))
    try:
        found.load()
        other.load()
    except OSError:
        return None
    # One at a time: the bytes of a large image take 150 MB.
    rows = range(0, found.height, 256)
    same = all(_rows(found, first) == _rows(other, first) for first in rows)
    return found if same else None


def _rows(image: Image.Image, first: int) -> bytes:
    return image.crop((0, first, image.width, min(first + 256, image.height))).tobytes()


def _scale_transparency(image: Image.Image) -> None:
    """Scales the transparent colour of a PNG like its pixels, which Pillow does not; called before the pixels are decoded."""
    clear = image.info.get("transparency")
    tiles = getattr(image, "tile", None)
    if image.format != "PNG" or not tiles or isinstance(clear, bytes) or clear is None:
        return
    raw = tiles[0][3]
    if image.mode == "1":
        image.info["transparency"] = 255 if clear else 0
    elif raw in ("L;2", "L;4"):
        image.info["transparency"] = clear * (85 if raw == "L;2" else 17) & 255
    elif raw == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in clear)


def _grey_kind(image: Image.Image) -> tuple[float, bool, bool]:
    """Returns how the values of a grey image of more than 8 bits are read: (value of white, unsigned 32 bits, 0 is white)."""
    tags = getattr(image, "tag_v2", {})
    bits, sample = (tags.get(tag, (0,))[0] if tags else 0 for tag in (BITS, SAMPLE_FORMAT))
    # Pillow inverts only 8 bits and fewer.
    inverted = bool(tags) and tags.get(PHOTOMETRIC) == 0
    if image.mode == "F":
        return 1.0, False, inverted
    top = {12: 4095.0, 16: 32767.0 if sample == 2 else 65535.0}.get(bits, 65535.0)
    return top, bits == 32 and sample != 2, inverted


def _to_rgb(image: Image.Image, kind: tuple[float, bool, bool]) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _grey_to_8_bits(image, *kind).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        # Pillow converts La to LA only.
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey_to_8_bits(image: Image.Image, top: float, unsigned: bool, inverted: bool) -> Image.Image:
    """Converts a grey image of 16 or 32 bits, or of floating point numbers, to 8 bits; the other arguments are `_grey_kind`'s.

    Pixels of the transparent value become white. Pillow's own conversion would clip all values above 255.
    """
    values = np.asarray(image)
    if unsigned:
        values = values.view(np.uint32)
    clear = image.info.get("transparency")
    grey = np.empty(values.shape, np.uint8)
    # A part at a time: all of a large image in double precision would take a gigabyte.
    for part, result in zip(_parts(values), _parts(grey), strict=True):
        scaled = np.nan_to_num(part.astype(np.float64), posinf=top, neginf=0.0).clip(0, top)
        result[:] = ((top - scaled if inverted else scaled) / top * 255.0).round()
        if isinstance(clear, int):
            result[part == clear] = 255
    return Image.fromarray(grey)


def _parts(values: Any) -> list[Any]:
    """Returns the flattened array in consecutive parts of at most 2**20 values each."""
    flat = values.reshape(-1)
    return [flat[first : first + 2**20] for first in range(0, flat.size, 2**20)]
