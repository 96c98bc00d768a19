"""Encodes the image that a user gives to the client: as the bytes of a file, without loss."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from hubserve.image_file import read_image_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    SentImage = str | os.PathLike[str] | bytes | NDArray[np.uint8] | Image.Image
    """What `hubserve.preprocess.ImageInput` is; numpy and Pillow are not imported for the type."""


def image_bytes(image: SentImage) -> bytes:
    """Returns the content of an image file that the service decodes to the same pixels as `hubserve.load(...)` takes.

    Bytes and files are returned as they are; the service says whether it can read them. Arrays and images of Pillow are
    converted to upright 8-bit RGB, as the service converts files (what is transparent lies on white), and encoded as PNG.

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
    from hubserve.preprocess import convert_to_rgb
    from hubserve.preprocess.image_input import as_image

    found = as_image(image)
    # The service has a limit of its own.
    rgb = convert_to_rgb(found, max_pixels=found.width * found.height)
    buffer = io.BytesIO()
    rgb.save(buffer, "PNG", compress_level=1, icc_profile=None, exif=b"")
    return buffer.getvalue()
