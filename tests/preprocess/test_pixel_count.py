"""The number of pixels by the header: what the decoders find, never less, in microseconds."""

from __future__ import annotations

import io
import random
import struct
import timeit
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from hubserve.errors import ImageError
from hubserve.preprocess import decode_pixels
from hubserve.preprocess.decode_limits import LimitedReads
from hubserve.preprocess.pixel_count import pixel_count
from hubserve.preprocess.rgb_image import FORMATS
from tests.images import encoded

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (75, 100, 3), dtype=np.uint8))


def _saved(kind: str, **options) -> bytes:
    stream = io.BytesIO()
    IMAGE.save(stream, kind, **options)
    return stream.getvalue()


FILES = {
    **{kind.lower(): _saved(kind) for kind in FORMATS},
    "lossless webp": _saved("WEBP", lossless=True),
    "webp with alpha": encoded(IMAGE.convert("RGBA"), "WEBP"),
    "avif with alpha": encoded(IMAGE.convert("RGBA"), "AVIF"),
    "progressive jpeg": _saved("JPEG", progressive=True, icc_profile=b"x" * 100_000),
    "lzw tiff": _saved("TIFF", compression="tiff_lzw"),
    "big tiff": _saved("TIFF", big_tiff=True),
    "animated gif": _saved("GIF", save_all=True, append_images=[IMAGE], comment=b"x" * 2000),
    "grey png": encoded(IMAGE.convert("L")),
}


@pytest.mark.parametrize("name", FILES)
def test_is_that_of_the_decoder(name):
    assert pixel_count(FILES[name]) == 7500
    assert decode_pixels(FILES[name]).shape == (75, 100, 3)


@pytest.mark.parametrize("name", FILES)
def test_takes_microseconds(name):
    # A request is weighed on the event loop. Measured: 0.6 to 14 microseconds.
    assert min(timeit.repeat(lambda: pixel_count(FILES[name]), number=100, repeat=5)) / 100 < 100e-6


def test_of_bytes_that_are_no_image_is_0_and_of_odd_headers_is_unknown():
    assert pixel_count(b"") == pixel_count(b"hello") == pixel_count(b"\x00" * 50) == 0
    assert pixel_count(FILES["jpeg"][:20]) is None
    assert pixel_count(_saved("AVIF", save_all=True, append_images=[IMAGE])) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff\xe1\x00\x02" * 5_000_000,
        b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\x00tEXtabcd" * 1_600_000,
        b"GIF89a\x01\x00\x01\x00\x00\x00\x00\x21\xfe" + b"\x01x" * 10_000_000,
        b"\x00\x00\x00\x08ftyp" + b"\x00\x00\x00\x08free" * 2_500_000,
        b"P6\n" + b"#\n" * 10_000_000,
        b"II*\x00\x08\x00\x00\x00\xff\xff" + b"\x00" * 20_000_000,
    ],
    ids=["segments", "chunks", "blocks", "boxes", "comments", "entries"],
)
def test_takes_no_time_however_many_parts_a_file_has(data):
    assert min(timeit.repeat(lambda: pixel_count(data), number=1, repeat=3)) < 0.02
    assert pixel_count(data) is None


def test_is_never_below_what_the_decoder_finds():
    """Headers changed at random: what Pillow opens must not be larger than it was weighed."""
    rng = random.Random(0)
    opened = 0
    for data in FILES.values():
        for _ in range(400):
            changed = bytearray(data[:2000])
            for _ in range(rng.randint(1, 4)):
                changed[rng.randrange(min(len(changed), 400))] = rng.choice([0, 1, 255, rng.randrange(256)])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    image = Image.open(LimitedReads(bytes(changed)), formats=FORMATS)
                except Exception:
                    continue
            opened += 1
            counted = pixel_count(bytes(changed))
            assert counted is None or counted >= image.width * image.height, (image.format, bytes(changed[:100]))
    assert opened > 2000


def test_a_second_header_counts_too():
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    small, large = (chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)) for side in (1, 6000))
    data = b"\x89PNG\r\n\x1a\n" + small + large + chunk(b"IDAT", zlib.compress(b"\x00" * 100))
    assert pixel_count(data) == 36_000_000


def test_a_decoder_that_finds_more_is_refused(monkeypatch):
    monkeypatch.setattr("hubserve.preprocess.decode.pixel_count", lambda data: 100)
    with pytest.raises(ImageError, match=r"100 x 75 pixels whose header says 100"):
        decode_pixels(FILES["png"])
