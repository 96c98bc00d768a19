"""`check_field_count`: bounds the number of fields of a message of protobuf before it is parsed.

A field takes two bytes at least, and protobuf makes an object of a hundred bytes of each, so 20 MB could become a gigabyte.
"""

from hubserve.errors import TensorError
from hubserve.service.grpc.messages import CONTAINERS

MOST_FIELDS = 10_000
"""Largest number of fields of a message, with those of the messages in it. A list of FP32 is one field, since it is packed."""


def check_field_count(body: bytes, message: str) -> None:
    """Checks that a message and the messages in it have at most `MOST_FIELDS` fields together.

    Args:
        body: The encoded message.
        message: Name of its class in `MESSAGES`.

    Raises:
        TensorError: They have more, a field has a type that the protocol does not use, or an integer or a field of variable
            length has no end.
    """
    try:
        left = _count(body, 0, len(body), message, MOST_FIELDS)
    except IndexError as error:
        raise TensorError("the message cannot be read: it ends within a field") from error
    if left < 0:
        raise TensorError(f"the message has more than {MOST_FIELDS:,} fields")


def _count(body: bytes, start: int, end: int, message: str, left: int) -> int:
    """Returns `left` minus the number of fields between `start` and `end`; it is negative if there are more.

    Raises IndexError if an integer or a field of variable length has no end, and TensorError if a field has a type that the
    protocol does not use.
    """
    place = start
    while place < end and left >= 0:
        key, place = _varint(body, place)
        number, kind = key >> 3, key & 7
        left -= 1
        if kind == 0:
            _, place = _varint(body, place)
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
        elif kind == 2:
            length, place = _varint(body, place)
            if place + length > end:
                raise IndexError
            if (inner := CONTAINERS[message].get(number)) is not None:
                left = _count(body, place, place + length, inner, left)
            place += length
        else:
            raise TensorError(f"the message cannot be read: field {number} has the type {kind} of protobuf")
    return left


def _varint(body: bytes, place: int) -> tuple[int, int]:
    """Returns the integer of variable length at `place`, and the place behind it. Raises IndexError if it has no end."""
    value = shift = 0
    while shift < 70:
        byte = body[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
    raise IndexError
