"""Decodes the tensors of a request of the Open Inference Protocol: prepared images as numbers, and image files as bytes."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubserve.errors import TensorError
from hubserve.service.base64_image import image_of_text

IMAGES, PICTURES = "images", "pictures"
"""Names of the inputs.

"images" are prepared images, FP32 (n, 3, size, size). "pictures" are image files, BYTES (n,), in base64 if they are in JSON.
"""

CHUNK = 50_000
"""Number of elements that are checked at once; a longer check in C would stop all other threads."""


def prepared_images(shape: Sequence[int], data: Sequence[Any], binary: bytes | None) -> list[NDArray[np.float32]]:
    """Returns the prepared images of the input `IMAGES`, each of the last three sides of `shape`.

    That these are (3, height, width) of the model is not checked here.

    Args:
        shape: Shape that the request says, which should be (n, 3, height, width).
        data: Elements in the JSON, flat or nested.
        binary: Elements as bytes, little-endian float32; None takes `data`.

    Raises:
        TensorError: `shape` has not four sides, or the elements are not as many finite numbers.
    """
    if len(shape) != 4:
        raise TensorError(f"shape {shape}: {IMAGES!r} has four sides: images, 3, height, width")
    if binary is None:
        _check_numbers(data)
    try:
        values = np.frombuffer(binary, "<f4") if binary is not None else np.array(data, np.float32).ravel()
    except (ValueError, TypeError, OverflowError) as error:
        raise TensorError(f"the elements of {IMAGES!r} are no numbers: {error}") from error
    if values.size != prod(shape):
        raise TensorError(f"shape {shape} has {prod(shape)} elements, and {values.size} came")
    if not np.isfinite(values).all():
        raise TensorError(f"{IMAGES!r} holds elements that are not finite")
    return list(values.reshape(shape).astype(np.float32, copy=False))


def image_files(shape: Sequence[int], data: Sequence[Any], binary: bytes | None) -> list[bytes]:
    """Returns the image files of the input `PICTURES`, without checking that their bytes are images.

    Args:
        shape: Shape that the request says; the product of its sides is the number of files.
        data: Elements in the JSON, each in base64 or a data URI; flat, or nested once.
        binary: Elements as bytes, each with its length before it, see `split_elements`; None takes `data`.

    Raises:
        TensorError: The elements cannot be read, or are not as many as `shape` says.
    """
    found = (
        split_elements(binary, PICTURES)
        if binary is not None
        else [_decoded(index, item) for index, item in enumerate(flat(data))]
    )
    if len(found) != prod(shape):
        raise TensorError(f"shape {shape} has {prod(shape)} elements, and {len(found)} came")
    return found


def _check_numbers(data: Sequence[Any]) -> None:
    """Raises TensorError if an element, at any depth, is not a number, such as a text or a boolean, which numpy would convert.

    Elements that are nested unevenly may be overlooked, since numpy refuses them.
    """
    if data and isinstance(data[0], list):
        for row in data:
            if isinstance(row, list):
                _check_numbers(row)
        return
    for start in range(0, len(data), CHUNK):
        for kind in set(map(type, data[start : start + CHUNK])) - {int, float, list}:
            raise TensorError(f"the elements of {IMAGES!r} are no numbers: one is a {kind.__name__}")


def split_elements(binary: bytes, name: str) -> list[bytes]:
    """Returns the elements of a BYTES tensor. Each has its length before it, as four bytes in little-endian order.

    Args:
        binary: Bytes of the tensor.
        name: Name of the tensor, for the message.

    Raises:
        TensorError: The bytes end within an element.
    """
    found: list[bytes] = []
    place = 0
    while place < len(binary):
        length = int.from_bytes(binary[place : place + 4], "little")
        if place + 4 + length > len(binary):
            raise TensorError(f"the bytes of {name!r} end within element {len(found)}")
        found.append(binary[place + 4 : place + 4 + length])
        place += 4 + length
    return found


def flat(items: Sequence[Any]) -> list[Any]:
    """Returns the items of a list in which items may be lists themselves, as one list; it resolves one level of nesting."""
    return [item for row in items for item in (row if isinstance(row, list) else [row])]


def _decoded(index: int, item: object) -> bytes:
    """Returns the bytes of the element `index`. Raises TensorError if it is not a text in base64 or a data URI."""
    try:
        return image_of_text(item)
    except ValueError as error:
        raise TensorError(f"element {index} of {PICTURES!r}: {error}") from error
