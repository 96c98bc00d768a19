"""Checks that the AV1 streams in an AVIF file have no more pixels than the file declares, and not too many frames.

An AVIF file that declares 100 x 100 pixels may hold frames of 16,384 x 16,384, or a thousand frames, and libavif decodes all of
them before it scales the image. So the headers of the streams are read here: the items that the box `iloc` lists
(ISO/IEC 14496-12), and the OBUs in each item (AV1 Bitstream Specification, section 5).
"""

import struct
from collections.abc import Iterator

from hubserve.errors import ImageError
from hubserve.preprocess.pixel_count import boxes

MOST_OBUS = 2000
"""The largest number of OBUs (units of an AV1 stream) that one item of an AVIF file may have."""

MOST_FRAMES = 8
"""The largest number of frames that one item of an AVIF file may have; a layered image has up to four."""

SUM_FACTOR = 4
"""Largest number of pixels of all items together, as a multiple of the declared pixels.

Besides the image, a file may have items for tiles with borders, transparency, a gain map and a thumbnail."""

_SEQUENCE, _FRAME_HEADER, _FRAME = 1, 3, 6


def check_avif(data: bytes, pixels: int) -> None:
    """Checks that the AV1 streams of an AVIF file have no more pixels and frames than allowed.

    A file without a list of items has no streams and passes; whether it is an image is for its decoder to say.

    Args:
        data: Content of the file.
        pixels: Number of pixels that the boxes of the file declare.

    Raises:
        ImageError: A stream has more than `pixels` pixels, all streams together have more than `SUM_FACTOR` times as many, an
            item has more than `MOST_FRAMES` frames or `MOST_OBUS` OBUs, or the list of items is there and cannot be read, e.g.
            because it is cut off.
    """
    try:
        sizes = [_stream_pixels(item) for item in _items(data)]
    except (struct.error, IndexError, ValueError) as error:
        raise ImageError(f"an AVIF whose items cannot be read ({error}); save it anew") from error
    if max(sizes, default=0) > pixels or sum(sizes) > SUM_FACTOR * pixels:
        raise ImageError(
            f"an AVIF that says {pixels:,} pixels and holds {max(sizes):,} in one of {len(sizes)} items, {sum(sizes):,} in "
            "all; save it anew"
        )


def _items(data: bytes) -> Iterator[bytes]:
    """Yields the content of each item that the box `iloc` of the AVIF file `data` lists.

    Raises:
        ValueError, IndexError, struct.error: The boxes cannot be read.
    """
    for kind, start, end in boxes(data):
        if kind == b"meta":
            meta = data[start + 12 : end]
            children = {kind: meta[first:last] for kind, first, last in boxes(meta)}
            if b"iloc" in children:
                yield from _located(children[b"iloc"], data, children.get(b"idat", b"")[8:])


def _located(iloc: bytes, file: bytes, idat: bytes) -> Iterator[bytes]:
    version = iloc[8]
    offset_size, length_size = iloc[12] >> 4, iloc[12] & 15
    base_size, index_size = iloc[13] >> 4, iloc[13] & 15 if version else 0
    place = 14

    def number(size: int) -> int:
        nonlocal place
        place += size
        if place > len(iloc):
            raise ValueError("the list of items ends too early")
        return int.from_bytes(iloc[place - size : place], "big")

    for _ in range(number(4 if version == 2 else 2)):
        number(4 if version == 2 else 2)
        method = number(2) & 15 if version else 0
        number(2)
        base = number(base_size)
        source = idat if method == 1 else file
        parts = []
        for _ in range(number(2)):
            number(index_size)
            offset, length = number(offset_size), number(length_size)
            start = base + offset
            parts.append(source[start : start + length] if length else source[start:])
        yield b"".join(parts)


def _stream_pixels(item: bytes) -> int:
    """Returns the pixels per frame of the largest AV1 sequence in `item`; 0 if it holds no AV1 sequence but, say, metadata.

    Raises:
        ValueError: The item has more than `MOST_OBUS` OBUs or `MOST_FRAMES` frames.
    """
    place = frames = pixels = 0
    for _ in range(MOST_OBUS + 1):  # The last round only finds that no more follow.
        if place >= len(item) or item[place] & 0x80:  # The first bit of an OBU is 0.
            break
        header = item[place]
        place += 2 if header & 4 else 1
        size = len(item) - place
        if header & 2:
            size, place = _leb128(item, place)
        kind = header >> 3 & 15
        if kind == _SEQUENCE:
            pixels = max(pixels, _sequence_pixels(item[place : place + min(size, 300)]))
        frames += kind in (_FRAME_HEADER, _FRAME)
        place += size
    else:
        raise ValueError(f"more than {MOST_OBUS} parts")
    if pixels and frames > MOST_FRAMES:
        raise ValueError(f"{frames} frames in one item")
    return pixels


def _leb128(item: bytes, place: int) -> tuple[int, int]:
    value = 0
    for i in range(8):
        if place >= len(item):
            break
        value |= (item[place] & 0x7F) << 7 * i
        place += 1
        if item[place - 1] < 0x80:
            break
    return value, place


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            return 0
        return self._value >> self._left & ((1 << count) - 1)


def _sequence_pixels(data: bytes) -> int:
    """Returns the largest width x height that an AV1 sequence header allows (AV1 specification, section 5.5.1)."""
    bits = _Bits(data)
    bits.read(4)  # Profile, and whether it is one image.
    if bits.read(1):  # The reduced header has the level alone.
        bits.read(5)
    else:
        _skip_timing_and_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    return (bits.read(width_bits) + 1) * (bits.read(height_bits) + 1)


def _skip_timing_and_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.read(1):
        bits.read(64)
        if bits.read(1):
            zeros = 0
            while zeros < 32 and not bits.read(1):
                zeros += 1
            bits.read(zeros)
        if bits.read(1):
            delay_bits = bits.read(5) + 1
            bits.read(42)
    delays = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if delay_bits and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if delays and bits.read(1):
            bits.read(4)
