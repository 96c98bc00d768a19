"""AVIF files that say less than they hold are refused before they are decoded; usual ones are read."""

from __future__ import annotations

import io
import struct
import time

import numpy as np
import pytest
from PIL import Image

from hubserve.errors import ImageError
from hubserve.preprocess import decode_pixels
from hubserve.preprocess.avif_limits import check_avif


def avif(side: int, mode: str = "RGB", **options) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)).convert(mode)
    image.save(stream, "AVIF", **options)
    return stream.getvalue()


@pytest.mark.parametrize("side", [1, 2, 63, 64, 65, 300])
@pytest.mark.parametrize("options", [{}, {"speed": 10, "subsampling": "4:4:4"}, {"quality": 100, "range": "limited"}], ids=str)
def test_usual_files_are_read(side, options):
    assert decode_pixels(avif(side, **options)).shape == (side, side, 3)
    assert decode_pixels(avif(side, "RGBA", **options)).shape == (side, side, 3)


def test_tiles_and_metadata_are_no_obstacle():
    data = avif(700, tile_rows=2, tile_cols=2, xmp=b"x" * 200_000, icc_profile=b"y" * 5000)
    assert decode_pixels(data).shape == (700, 700, 3)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_more_pixels_in_the_stream_than_in_the_box(mode):
    """Before: the AV1 stream of 49 megapixels was decoded, and scaled to 100 x 100."""
    stream = io.BytesIO()
    Image.new(mode, (7000, 7000), (3, 4, 5)).save(stream, "AVIF", speed=10)
    data = bytearray(stream.getvalue())
    place = -1
    while (place := data.find(b"ispe", place + 1)) >= 0:
        struct.pack_into(">II", data, place + 8, 100, 100)
    start = time.process_time()
    with pytest.raises(ImageError, match=r"an AVIF that says 10,000 pixels and holds 49,000,000 in one of"):
        decode_pixels(bytes(data))
    assert time.process_time() - start < 0.1


def test_many_frames_in_one_item():
    obu = bytes([0x32, 0x00])  # A frame without content.
    sequence = avif(64)
    start = sequence.index(b"\x0a", sequence.index(b"mdat"))
    header = sequence[start : start + 2 + sequence[start + 1]]
    item = header + obu * 100
    iloc = b"\x00\x00\x00\x00" + b"iloc" + b"\x00\x00\x00\x00" + b"\x44\x00" + b"\x00\x01" + b"\x00\x01\x00\x00\x00\x01"
    iloc += struct.pack(">II", 0, 0)
    iloc = struct.pack(">I", len(iloc)) + iloc[4:]
    meta = struct.pack(">I", 12 + len(iloc)) + b"meta" + b"\x00\x00\x00\x00" + iloc
    at = meta.rindex(struct.pack(">II", 0, 0))
    meta = meta[:at] + struct.pack(">II", len(meta) + 8, len(item))
    data = meta + struct.pack(">I", 8 + len(item)) + b"mdat" + item
    with pytest.raises(ImageError, match="100 frames in one item"):
        check_avif(data, 64 * 64)
