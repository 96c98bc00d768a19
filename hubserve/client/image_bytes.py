"""Encodes the image that a user gives to the client: as the bytes of a file, without loss."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

from hubserve.errors import ImageError
from hubserve.image_file import read_image_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    SentImage = str | os.PathLike[str] | bytes | NDArray[np.uint8] | Image.Image
    """What `hubserve.preprocess.ImageInput` is; numpy and Pillow are not imported for the type."""

PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
"""Modes of Pillow that PNG keeps as they are."""

TIFF_MODES = ("I", "I;16", "F", "CMYK", "YCbCr")
"""Modes of Pillow that TIFF keeps as they are, and PNG does not."""


def image_bytes(image: SentImage) -> bytes:
    """Returns the content of an image file that the service decodes to the same pixels as `hubserve.load(...)` takes.

    Bytes and files are returned as they are; the service says whether it can read them. Arrays and images of Pillow are encoded
    as PNG, or as TIFF in modes that PNG does not have.

    Args:
        image: Path or bytes of an image file, array of pixels, or image of Pillow; see `hubserve.preprocess.ImageInput`.

    Raises:
        ImageError: A file cannot be read, an array has another shape or type, an image of Pillow cannot be read from its file,
            or `image` is something else.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | os.PathLike):
        return read_image_file(image)
    # Needed for arrays and images alone, which are there only if numpy and Pillow have been imported already.
    from hubserve.preprocess.image_input import as_image

    found = as_image(image)
    try:
        return _encoded(found)
    except Exception as error:  # Pillow reads the file of an image late, and its decoders raise almost anything.
        raise ImageError(f"not a readable image: {type(error).__name__}: {error}") from error


def _encoded(image: Image.Image) -> bytes:
    options: dict[str, Any] = {"exif": image.getexif()}  # It has the orientation.
    if image.mode in TIFF_MODES:
        kind = "TIFF"
    else:
        kind, options = "PNG", options | {"compress_level": 1, "icc_profile": None}
        if image.mode not in PNG_MODES:
            image = image.convert({"PA": "RGBA", "RGBa": "RGBA", "La": "LA"}.get(image.mode, "RGB"))
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
