"""Refuses small image files whose decoding would take minutes, before they are decoded.

Three kinds of files do so. A JPEG may have many scans: each makes the decoder process all pixels again, and an empty scan takes
only 30 bytes. A TIFF may have large tiles, which are decoded whole even if the image is small. Other files consist of millions
of empty parts, which Pillow reads one by one in Python.
"""

import io
import re

from PIL import TiffImagePlugin

from hubserve.errors import ImageError, ImageTooLargeError

MOST_READS = 100_000
"""Largest number of reads that Pillow may make from one image file; a usual file of 20 MB takes some thousands."""

MOST_SCANS = 100
"""Largest number of scans of a JPEG. It is the limit of libtiff; libjpeg-turbo has none. Usual files have about ten."""

MOST_SEGMENTS = 10_000
"""Largest number of segments of a JPEG that are searched for scans; colour profiles and metadata take some hundreds."""

_SEGMENT = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")
"""JPEG markers that a length field follows, and the end marker EOI.

Standalone markers (RST, TEM) are left out. Within entropy-coded data 0xff is followed by 0 or a standalone marker only, so no
match lies there."""

_SCAN, _END = 0xDA, 0xD9


class LimitedReads(io.BytesIO):
    """A binary stream with the content of an image file, whose method `read` may be called at most `MOST_READS` times.

    Further calls raise ImageError.

    Attributes:
        reads: Number of calls of `read` so far.
    """

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MOST_READS:
            raise _in_parts()
        return super().read(size)


def check_scans(data: bytes, pixels: int, max_pixels: int) -> None:
    """Checks that a JPEG does not have too many scans for its size.

    At most `MOST_SCANS` (100) scans are allowed, and all scans together may process at most 20 times `max_pixels` pixels; one
    scan is always allowed.

    Args:
        data: Content of the file.
        pixels: Number of pixels of the image.
        max_pixels: Largest number of pixels that an image may have.

    Raises:
        ImageError: The file has more scans, or so many segments that its scans are not all counted.
    """
    most = min(MOST_SCANS, max(1, 20 * max_pixels // max(pixels, 1)))
    # At least as many as there are; notes of cameras, and a video behind the image, have these two bytes by chance.
    if data.count(b"\xff\xda") > most and _has_more_scans(data, most):
        raise ImageError(
            f"a JPEG with more than {most} scans, or {MOST_SEGMENTS:,} segments, which is the most that is decoded for its "
            f"{pixels:,} pixels; save it anew: about ten scans are usual"
        )


def check_tiles(data: bytes, max_pixels: int) -> None:
    """Checks that a TIFF does not have too many or too large tiles; called before Pillow opens the file and lists all tiles.

    Args:
        data: Content of the file.
        max_pixels: Largest number of pixels that a tile may have.

    Raises:
        ImageError: The file has more than `MOST_READS` (100,000) tiles or strips, or its directory takes more reads.
        ImageTooLargeError: A tile has more than `max_pixels` pixels.
        Exception: Pillow cannot read the bytes as a TIFF; the exception may be of almost any class.
    """
    stream = LimitedReads(data)
    # In a large TIFF (version 43) offsets have eight bytes.
    directory = TiffImagePlugin.ImageFileDirectory_v2(stream.read(16 if 43 in data[2:4] else 8))
    stream.seek(directory.next)
    directory.load(stream)
    for offsets in (directory.get(TiffImagePlugin.STRIPOFFSETS), directory.get(TiffImagePlugin.TILEOFFSETS)):
        if isinstance(offsets, tuple) and len(offsets) > MOST_READS:
            raise _in_parts()
    width, height = directory.get(TiffImagePlugin.TILEWIDTH, 1), directory.get(TiffImagePlugin.TILELENGTH, 1)
    if width * height > max_pixels:
        raise ImageTooLargeError(
            f"the image has tiles of {width} x {height} pixels; at most {max_pixels:,} are allowed: save it anew"
        )


def _has_more_scans(data: bytes, most: int) -> bool:
    place = scans = 0
    for _ in range(MOST_SEGMENTS):
        found = _SEGMENT.search(data, place)
        if found is None or data[found.end() - 1] == _END:
            return False
        scans += data[found.end() - 1] == _SCAN
        if scans > most:
            return True
        place = found.end() + max(int.from_bytes(data[found.end() : found.end() + 2]), 2)
    return True


def _in_parts() -> ImageError:
    return ImageError(f"an image in more than {MOST_READS:,} parts, which is the most that is read; save it anew")
