"""Reads those parts of TFRecord files and protocol buffers that NAS-Bench-101 uses, without TensorFlow."""

import struct
from collections.abc import Iterator
from pathlib import Path

from hubserve.errors import EvaluatorError

Field = int | float | bytes
"""The value of a field: an integer, a float, or the bytes of a text or of a nested message."""


def read_records(path: Path) -> Iterator[bytes]:
    """Yields the records of a TFRecord file.

    In the file, a record consists of its length (8 bytes), the length's checksum (4), its content, and the content's checksum
    (4). Checksums are not verified: corrupt content is found when it is parsed, and a corrupt length when the file ends too
    early.

    Raises:
        EvaluatorError: The file cannot be read, or ends within a record.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise EvaluatorError(f"{path} cannot be read: {error}") from error
    size = path.stat().st_size
    with file:
        while header := file.read(12):
            length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else size
            if length + 4 > size - file.tell():
                raise EvaluatorError(f"{path} is no TFRecord file, or is truncated: it ends within a record")
            yield file.read(length)
            file.seek(4, 1)


def fields(message: bytes) -> Iterator[tuple[int, Field]]:
    """Yields (number, value) for each field of an encoded protocol buffer message, in order.

    Raises:
        EvaluatorError: `message` is truncated, or is not such a message.
    """
    at = 0
    try:
        while at < len(message):
            tag, at = _varint(message, at)
            value: Field
            match tag & 7:
                case 0:
                    value, at = _varint(message, at)
                case 1:
                    value, at = struct.unpack_from("<d", message, at)[0], at + 8
                case 2:
                    length, at = _varint(message, at)
                    value, at = message[at : at + length], at + length
                case 5:
                    value, at = struct.unpack_from("<f", message, at)[0], at + 4
                case kind:
                    raise EvaluatorError(f"a protocol buffer of {len(message)} bytes has a field of the unknown kind {kind}")
            yield tag >> 3, value
    except (IndexError, struct.error):
        at = len(message) + 1
    if at != len(message):
        raise EvaluatorError(f"a protocol buffer of {len(message)} bytes ends within a field")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Returns the variable-length integer at offset `at` of `message`, and the offset after it.

    Each byte holds seven bits, the lowest first; the top bit of all but the last byte is set.
    """
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
