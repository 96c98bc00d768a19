"""Image files of every kind that is read, written byte by byte where Pillow does not write them."""

from __future__ import annotations

import io
import re
import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image

from tests.images import encoded

RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))
GREY = RGB.convert("L")


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(rows: np.ndarray, depth: int, colour: int = 0, *chunks: bytes) -> bytes:
    """A PNG of packed rows; `colour` is its colour type, and `chunks` come before the pixels."""
    width = rows.shape[1] * 8 // (depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour])
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join((chunk(b"IHDR", header), *chunks, chunk(b"IDAT", pixels), chunk(b"IEND", b"")))


def grey_tiff(values: np.ndarray, *, bits: int = 0, photometric: int = 1, order: str = "<") -> bytes:
    """An uncompressed grey TIFF of the type of `values`, or of 12 bits, with the byte order "<" or ">"."""
    sample = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    if bits == 12:
        low = values.reshape(-1, 2).astype(np.uint32)
        packed = (low[:, 0] << 12 | low[:, 1]).astype(">u4").tobytes()
        content = b"".join(packed[i + 1 : i + 4] for i in range(0, len(packed), 4))
    else:
        content = values.astype(values.dtype.newbyteorder(order)).tobytes()
    height, width = values.shape
    entries = ((256, width), (257, height), (258, bits or 8 * values.itemsize), (259, 1), (262, photometric))
    entries += ((273, 8), (277, 1), (278, height), (279, len(content)), (339, sample))
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    directory = struct.pack(order + "H", len(entries))
    for tag, value in entries:
        kind, code = (3, "HH") if tag in (258, 259, 262, 277, 339) else (4, "I")
        directory += struct.pack(f"{order}HHI{code}", tag, kind, 1, value, *([0] if kind == 3 else []))
    return mark + struct.pack(order + "I", 8 + len(content)) + content + directory + bytes(4)


def with_exif(kind: str, orientation: int = 6) -> bytes:
    """RGB with an EXIF orientation and a description."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, "a description"
    buffer = io.BytesIO()
    RGB.save(buffer, kind, exif=exif)
    return buffer.getvalue()


def with_corrupt_exif(kind: str) -> bytes:
    """RGB with EXIF data that begin with neither byte order; AVIF has its orientation elsewhere, so it has none here."""
    whole = with_exif(kind, 1 if kind == "AVIF" else 6)
    if kind == "PNG":  # Its checksum holds.
        return png(np.asarray(RGB).reshape(30, -1), 8, 2, chunk(b"eXIf", b"damaged!!"))
    return re.sub(rb"(?<=.{20})(II\*\0|MM\0\*)", b"damn", whole, count=1, flags=re.DOTALL)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@cache
def image_kinds() -> dict[str, bytes]:
    """Name of a kind -> a file of it; each of them is read."""
    ramp = np.linspace(0, 1, 1200, dtype=np.float32).reshape(30, 40)
    with_nan = ramp.copy()
    with_nan[0, 0], with_nan[0, 1], with_nan[0, 2] = np.nan, np.inf, -np.inf
    deep, alpha = (ramp * 65535).astype(np.uint16), Image.merge("RGBA", (*RGB.split(), GREY))
    packed = np.random.default_rng(1).integers(0, 256, (30, 20), dtype=np.uint8)
    jpeg = saved(RGB, "JPEG")
    found = {
        "jpeg": jpeg,
        "grey jpeg": saved(GREY, "JPEG"),
        "cmyk jpeg": saved(RGB.convert("CMYK"), "JPEG"),
        "progressive jpeg": saved(RGB, "JPEG", progressive=True),
        "jpeg with restarts": saved(RGB, "JPEG", restart_marker_rows=1),
        "jpeg without end marker": jpeg[:-2],
        "jpeg with half an end marker": jpeg[:-1],
        "grey jpeg without end marker": saved(GREY, "JPEG")[:-2],
        "cmyk jpeg without end marker": saved(RGB.convert("CMYK"), "JPEG")[:-2],
        "progressive jpeg without end marker": saved(RGB, "JPEG", progressive=True)[:-2],
        "turned jpeg without end marker": with_exif("JPEG")[:-2],
        "png": encoded(RGB),
        "grey png": encoded(GREY),
        "1-bit png": encoded(RGB.convert("1")),
        "2-bit png": png(packed, 2),
        "4-bit png": png(packed, 4),
        "16-bit grey png": encoded(Image.fromarray(deep)),
        "16-bit rgb png": png(np.repeat(deep.astype(">u2"), 3, axis=1).view(np.uint8), 16, 2),
        "16-bit rgba png": png(np.repeat(deep.astype(">u2"), 4, axis=1).view(np.uint8), 16, 6),
        "16-bit grey png with alpha": png(np.repeat(deep.astype(">u2"), 2, axis=1).view(np.uint8), 16, 4),
        "1-bit png, white is clear": png(packed, 1, 0, chunk(b"tRNS", b"\0\1")),
        "2-bit png, 2 is clear": png(packed, 2, 0, chunk(b"tRNS", b"\0\2")),
        "4-bit png, 9 is clear": png(packed, 4, 0, chunk(b"tRNS", b"\0\x09")),
        "8-bit png, 7 is clear": png(packed, 8, 0, chunk(b"tRNS", b"\0\7")),
        "16-bit png, one value is clear": png(deep.astype(">u2").view(np.uint8), 16, 0, chunk(b"tRNS", b"\1\5")),
        "rgb png, one colour is clear": png(packed[:, :18], 8, 2, chunk(b"tRNS", struct.pack(">3H", *packed[0, :3]))),
        "16-bit rgb png, one colour is clear": png(packed[:, :18], 16, 2, chunk(b"tRNS", packed[0, :6].tobytes())),
        "rgba png": encoded(alpha),
        "grey png with alpha": encoded(alpha.convert("LA")),
        "palette png": encoded(RGB.convert("P")),
        "palette png, one clear": saved(RGB.convert("P"), "PNG", transparency=3),
        "palette png, several clear": saved(RGB.convert("P"), "PNG", transparency=bytes(range(256))),
        "animated png": saved(RGB, "PNG", save_all=True, append_images=[RGB.rotate(90)]),
        "png without end": encoded(RGB)[:-12],
        "webp": saved(RGB, "WEBP"),
        "webp with alpha": saved(alpha, "WEBP", lossless=True),
        "animated webp": saved(RGB, "WEBP", save_all=True, append_images=[RGB.rotate(90)]),
        "gif": saved(RGB, "GIF"),
        "gif, one clear": saved(RGB.convert("P"), "GIF", transparency=5),
        "animated gif": saved(RGB, "GIF", save_all=True, append_images=[RGB.rotate(90)]),
        "gif without end": saved(RGB, "GIF")[:-1],
        "bmp": saved(RGB, "BMP"),
        "avif": saved(RGB, "AVIF"),
        "avif with alpha": saved(alpha, "AVIF"),
        "ppm": saved(RGB, "PPM"),
        "pgm": saved(GREY, "PPM"),
        "16-bit pgm": saved(Image.fromarray(deep), "PPM"),
        "tiff": saved(RGB, "TIFF"),
        "tiff of several pages": saved(RGB, "TIFF", save_all=True, append_images=[GREY]),
        "rgba tiff": saved(alpha, "TIFF"),
        "cmyk tiff": saved(RGB.convert("CMYK"), "TIFF"),
        "palette tiff": saved(RGB.convert("P"), "TIFF"),
        "lzw tiff": saved(RGB, "TIFF", compression="tiff_lzw"),
        "deflate 16-bit tiff": saved(Image.fromarray(deep), "TIFF", compression="tiff_adobe_deflate"),
        "12-bit tiff": grey_tiff((ramp * 4095).astype(np.uint16), bits=12),
        "16-bit tiff, big-endian": grey_tiff(deep, order=">"),
        "16-bit tiff, 0 is white": grey_tiff(deep, photometric=0),
        "signed 16-bit tiff": grey_tiff((ramp * 65535 - 32768).astype(np.int16)),
        "signed 16-bit tiff, big-endian": grey_tiff((ramp * 65535 - 32768).astype(np.int16), order=">"),
        "32-bit tiff": grey_tiff((ramp * 70000).astype(np.int32)),
        "unsigned 32-bit tiff": grey_tiff((ramp * 2**32).astype(np.uint64).clip(0, 2**32 - 1).astype(np.uint32)),
        "float tiff": grey_tiff(ramp),
        "float tiff of 0 to 300": grey_tiff(ramp * 300),
        "float tiff with nan": grey_tiff(with_nan),
        "float tiff, 0 is white": grey_tiff(with_nan, photometric=0, order=">"),
    }
    found |= {
        f"{kind} turned by {value}": with_exif(kind, value)
        for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")
        for value in (3, 6)
    }
    return found | {f"{kind} with corrupt exif": with_corrupt_exif(kind) for kind in ("JPEG", "PNG", "WEBP", "AVIF")}
