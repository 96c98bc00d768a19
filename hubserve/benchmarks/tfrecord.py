"""Reads TFRecord files and protocol buffers, as far as NAS-Bench-101 uses them, without TensorFlow."""

import struct
from collections.abc import Iterator
from pathlib import Path

from hubserve.errors import EvaluatorError

Field = int | float | bytes
"""Value of a field: an integer, a float, or the bytes of a text or of a nested message."""


def read_records(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file. Each has its length (8 bytes), the length's checksum (4), itself, its checksum (4).

    Checksums are not verified: a corrupt record fails when it is parsed, a corrupt length where the file ends within a record.

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
    """(number, value) of each field of a protocol buffer message, in order.

    Raises:
        EvaluatorError: `message` is truncated, or is no such message.
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
    """The variable-length integer at the offset `at`, seven bits a byte with the lowest first, and the offset after it."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
