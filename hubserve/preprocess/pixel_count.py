"""Reads the number of pixels of an image file from its header, in microseconds, without decoding the image.

The service estimates the cost of a request by this number before it queues the request. A decoder reads more of the file and
may find a larger image; `hubserve.preprocess.decode` refuses such a file.
"""

import re
import struct
from collections.abc import Callable, Iterator

MOST_STEPS = 1000
"""Largest number of segments, chunks, blocks or entries of a header that are read."""

_PPM = re.compile(rb"P[0-9A-Za-z](?:\s|#[^\r\n]*[\r\n])+(\d{1,10})(?:\s|#[^\r\n]*[\r\n])+(\d{1,10})\s")
_TIFF_TYPES = {1: 1, 3: 2, 4: 4, 16: 8}
"""Code of an unsigned integer type of TIFF -> its length in bytes."""
_TIFF_SIDES = {256: 0, 257: 1, 322: 2, 323: 3}
"""Number of a TIFF tag -> 0 for the width of the image, 1 for its height, 2 for the width of its tiles, 3 for their height."""


def pixel_count(data: bytes) -> int | None:
    """Returns the number of pixels (width x height) of the first frame of an image file by its header.

    Args:
        data: Content of the file.

    Returns:
        The number of pixels; 0 if the bytes are in none of the formats that are read; None if the header does not give the
        number in the usual way, so that it is not known.
    """
    read = _avif if data[4:8] == b"ftyp" else next((read for start, read in _READERS if data.startswith(start)), None)
    if read is None:
        return 0
    try:
        return read(data)
    except (struct.error, IndexError):
        return None


def _jpeg(data: bytes) -> int | None:
    """Returns the number of pixels in the largest frame header before the first scan; None if there is none."""
    place, found = 2, 0
    for _ in range(MOST_STEPS):
        marker = data[place + 1]
        if data[place] != 0xFF or marker == 0xFF or marker == 0:
            # Bytes between segments, which decoders skip one at a time.
            place += 1
            continue
        if marker in (0xDA, 0xD9):
            return found or None
        if marker == 1 or 0xD0 <= marker <= 0xD8:
            place += 2
            continue
        length = data[place + 2] << 8 | data[place + 3]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, place + 5)
            found = max(found, width * height)
        place += 2 + length
    return None


def _png(data: bytes) -> int | None:
    """Returns the number of pixels in the largest header (IHDR) before the first chunk of pixels; None if there is none."""
    place, found = 8, 0
    for _ in range(MOST_STEPS):
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"IDAT":
            return found or None
        if kind == b"IHDR":
            width, height = struct.unpack_from(">II", data, place + 8)
            found = max(found, width * height)
        place += 12 + length
    return None


def _gif(data: bytes) -> int | None:
    """Returns the size of the smallest area that contains screen and first frame, in pixels; None if there is no frame."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    place = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    inside = False
    for _ in range(MOST_STEPS):
        kind = data[place]
        if inside:
            # The blocks of an extension, each with its length before it; a length of 0 ends them.
            inside = kind > 0
            place += 1 + kind
        elif kind == 0x2C:
            left, top, wide, high = struct.unpack_from("<HHHH", data, place + 1)
            return max(width, left + wide) * max(height, top + high)
        elif kind == 0x3B:
            return None
        else:
            inside = kind == 0x21
            place += 2 if inside else 1
    return None


def _bmp(data: bytes) -> int | None:
    (size,) = struct.unpack_from("<I", data, 14)
    if size == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<II", data, 18)
        if height >= 2**31:
            height = 2**32 - height  # Negative where the rows begin at the top.
    return int(width * height)


def _tiff(data: bytes) -> int | None:
    """Returns the number of pixels of the image or of one of its tiles, whichever is larger; None if it is not known.

    It is not known if the directory has too many entries, or gives a side in an unusual type or not at all.
    """
    order, big = "<" if data[:2] == b"II" else ">", 43 in data[2:4]
    (place,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, place)
    if count > MOST_STEPS:
        return None
    place, entry, inline = place + (8 if big else 2), 20 if big else 12, 8 if big else 4
    sides = [0, 0, 0, 0]
    for at in range(place, place + count * entry, entry):
        tag, kind, values = struct.unpack_from(order + ("HHQ" if big else "HHI"), data, at)
        if tag in _TIFF_SIDES:
            length = _TIFF_TYPES.get(kind, 0)
            if values != 1 or not 0 < length <= inline:
                return None
            start = at + entry - inline
            value = int.from_bytes(data[start : start + length], "little" if order == "<" else "big")
            sides[_TIFF_SIDES[tag]] = max(sides[_TIFF_SIDES[tag]], value)
    return max(sides[0] * sides[1], sides[2] * sides[3]) or None


def _webp(data: bytes) -> int | None:
    match data[8:16]:
        case b"WEBPVP8X":
            return (int.from_bytes(data[24:27], "little") + 1) * (int.from_bytes(data[27:30], "little") + 1)
        case b"WEBPVP8L":
            bits = int.from_bytes(data[21:25], "little")
            return ((bits & 0x3FFF) + 1) * ((bits >> 14 & 0x3FFF) + 1)
        case b"WEBPVP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return int((width & 0x3FFF) * (height & 0x3FFF))
    return None


def _avif(data: bytes) -> int | None:
    """Returns the number of pixels of the largest item; None for an animation, whose size is in another box."""
    outermost = list(boxes(data))
    metas = [data[start:end] for kind, start, end in outermost if kind == b"meta"]
    if len(outermost) == MOST_STEPS or not metas or any(kind == b"moov" for kind, _, _ in outermost):
        return None
    sizes = [struct.unpack_from(">II", meta, at.end() + 4) for meta in metas for at in re.finditer(b"ispe", meta[: 10**6])]
    return max((width * height for width, height in sizes), default=None)


def boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields (kind, start, end) of each outermost box of an AVIF file, for at most `MOST_STEPS` boxes.

    `start` is the position of the box's header, which takes 8 bytes or more. `end` may lie behind the end of the file. Fewer
    than 8 bytes at the end are ignored.

    Raises:
        struct.error: A box has a length of 64 bits, which is truncated.
    """
    place = 0
    for _ in range(MOST_STEPS):
        if place + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, place)
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, place + 8)
        end = place + max(length, 8) if length else len(data)
        yield kind, place, end
        place = end


def _ppm(data: bytes) -> int | None:
    found = _PPM.match(data[:4096])
    return int(found[1]) * int(found[2]) if found else None


_READERS: tuple[tuple[bytes, Callable[[bytes], int | None]], ...] = (
    (b"\xff\xd8", _jpeg),
    (b"\x89PNG", _png),
    (b"RIFF", _webp),
    (b"GIF8", _gif),
    (b"BM", _bmp),
    (b"II", _tiff),
    (b"MM", _tiff),
    (b"P", _ppm),
)
"""Pairs of the first bytes of a file format and the function that returns the number of pixels of such a file."""
