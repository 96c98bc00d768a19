"""`image_of_text`: the bytes of an image that a JSON body has as text, in base64 or as a data URI."""

import base64
import binascii
from urllib.parse import unquote_to_bytes

WHITESPACE = b" \t\r\n\f\v"
"""Bytes that are ignored in base64."""


def image_of_text(value: object) -> bytes:
    """Returns the bytes of an image in base64, with or without `data:image/jpeg;base64,` before it (a data URI, RFC 2397).

    The media type of a data URI is ignored, because the bytes themselves say what the image is.

    Args:
        value: The text.

    Raises:
        ValueError: `value` is not a string, or not base64, or a data URI that is not in base64.
    """
    if not isinstance(value, str):
        raise ValueError(f"an image in JSON is text in base64, and this is a {type(value).__name__}")
    try:
        # Strictly: otherwise b64decode skips characters that are not base64 and returns the rest.
        return base64.b64decode(_data(value.encode()).translate(None, WHITESPACE), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError(f"not base64: {error}") from error


def _data(text: bytes) -> bytes:
    """Returns the part of a text that is base64. Raises ValueError for a data URI without one."""
    if text[:5].lower() != b"data:":
        return text
    head, comma, data = text.partition(b",")
    if not comma or not head.rstrip().lower().endswith(b";base64"):
        raise ValueError("a data URI of an image has ';base64,' before the data, as in data:image/jpeg;base64,...")
    return unquote_to_bytes(data) if b"%" in data else data
