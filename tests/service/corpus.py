"""Bodies that strangers send: pictures of every odd kind, and everything that is wrong in some way. Made up, none is stored."""

from __future__ import annotations

import base64
import io
import json
import pickle
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from random import Random

import numpy as np
from PIL import Image, ImageCms

FORM = "multipart/form-data; boundary=frontier"
PART = b'--frontier\r\nContent-Disposition: form-data; name="image"\r\n'


@dataclass(frozen=True)
class Body:
    """What is sent to /classify.

    Attributes:
        name: what is odd about it.
        data: its bytes.
        kind: content type.
        right: whether it must be classified; False where it must be refused; None where either will do.
    """

    name: str
    data: bytes
    kind: str = "application/octet-stream"
    right: bool | None = None


@cache
def odd_pictures() -> tuple[Body, ...]:
    """Pictures that are none of the usual kind and are pictures all the same: each must be classified."""
    rgb = Image.fromarray(_pixels(3))
    grey = Image.fromarray(_pixels(1)[..., 0])
    alpha = Image.fromarray(np.dstack([_pixels(3), _pixels(1)]))
    deep = Image.fromarray(_pixels(1)[..., 0].astype(np.uint16) * 257)
    turned = Image.Exif()
    turned[0x0112] = 6
    profile = _colour_profile()
    frames = {"save_all": True, "append_images": [grey.convert("RGB")] * 3}
    made = {
        "jpeg": _saved(rgb, "JPEG"),
        "progressive jpeg": _saved(rgb, "JPEG", progressive=True),
        "jpeg, no subsampling": _saved(rgb, "JPEG", subsampling=0, quality=100),
        "grey jpeg": _saved(grey, "JPEG"),
        "cmyk jpeg": _saved(rgb.convert("CMYK"), "JPEG"),
        "jpeg turned by exif": _saved(rgb, "JPEG", exif=turned),
        "jpeg with icc": _saved(rgb, "JPEG", icc_profile=profile),
        "jpeg and then garbage": _saved(rgb, "JPEG") + b"garbage" * 50,
        "jpeg and then a zip": _saved(rgb, "JPEG") + b"PK\x05\x06" + bytes(18),
        "png": _saved(rgb, "PNG"),
        "png with alpha": _saved(alpha, "PNG"),
        "grey png with alpha": _saved(alpha.convert("LA"), "PNG"),
        "palette png": _saved(rgb.convert("P"), "PNG"),
        "palette png with transparency": _saved(rgb.convert("P"), "PNG", transparency=3),
        "black and white png": _saved(grey.convert("1"), "PNG"),
        "16-bit png": _saved(deep, "PNG"),
        "png turned by exif": _saved(rgb, "PNG", exif=turned),
        "png with icc": _saved(rgb, "PNG", icc_profile=profile),
        "animated gif": _saved(rgb, "GIF", **frames),
        "animated png": _saved(rgb, "PNG", **frames),
        "webp": _saved(rgb, "WEBP"),
        "lossless webp with alpha": _saved(alpha, "WEBP", lossless=True),
        "animated webp": _saved(rgb, "WEBP", **frames),
        "bmp": _saved(rgb, "BMP"),
        "tiff": _saved(rgb, "TIFF"),
        "16-bit tiff": _saved(deep, "TIFF"),
        "floating tiff": _saved(Image.fromarray(_pixels(1)[..., 0].astype(np.float32) / 255), "TIFF"),
        "tiff of several pages": _saved(rgb, "TIFF", **frames),
        "cmyk tiff": _saved(rgb.convert("CMYK"), "TIFF"),
        "lab tiff": _saved(rgb.convert("LAB"), "TIFF", icc_profile=b""),
        "one pixel": _saved(rgb.resize((1, 1)), "PNG"),
        "one row": _saved(rgb.resize((500, 1)), "PNG"),
        "one column": _saved(rgb.resize((1, 500)), "JPEG"),
        "long row": _saved(rgb.resize((3000, 1)), "PNG"),
        "longest row": _saved(rgb.resize((65_535, 1)), "PNG"),
        "longest column": _saved(rgb.resize((1, 65_535)), "PNG"),
        "longest strip of a jpeg": _saved(rgb.resize((65_500, 8)), "JPEG"),
        "ppm": _saved(rgb, "PPM"),
    }
    return tuple(Body(name, data, right=True) for name, data in made.items())


@cache
def wrong_bodies() -> tuple[Body, ...]:
    """What is no picture, or none that may be looked at: each must be refused."""
    png, jpeg = _saved(Image.fromarray(_pixels(3)), "PNG"), _saved(Image.fromarray(_pixels(3)), "JPEG")
    made = {
        "nothing": b"",
        "text": b"hello",
        "zeros": bytes(10_000),
        "html": b"<html><script>alert(1)</script></html>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "pickle": pickle.dumps({"weights": [1.0, 2.0]}),
        "zip": b"PK\x03\x04" + bytes(100),
        "elf": b"\x7fELF" + bytes(200),
        "head of a jpeg": jpeg[:20],
        "half a jpeg": jpeg[: len(jpeg) // 2],
        "head of a png": png[:33],
        "half a png": png[: len(png) // 2],
        "huge png": _claims(png, 60_000, 60_000),
        "wide png": _claims(png, 2**31 - 1, 1),
        "png of no size": _claims(png, 0, 0),
        "png bomb": _bomb(20_000, 20_000),
        "row of 49,999,999": _bomb(49_999_999, 1),
        "column of 49,999,999": _claims(png, 1, 49_999_999),
        "png of empty chunks": png[:33] + _chunk(b"teST", b"") * 60_000 + png[33:],
        "jpeg of comments": jpeg[:2] + b"\xff\xfe\0\x02" * 110_000 + jpeg[2:],
        "jpeg of fill bytes": jpeg[:2] + b"\xff" * 110_000 + jpeg[2:],
        "jpeg of scans": jpeg_of_scans(3000),
        "tiff with a huge tile": tiff_of_tiles(20_000, 1),
        "tiff of many tiles": tiff_of_tiles(1, 110_000),
        "ppm in text": b"P3\n1 1\n255\n1 1 1\n",
        "sgi": _saved(Image.fromarray(_pixels(3)), "SGI"),
        "huge jpeg": _resized_jpeg(jpeg, 65_535, 65_535),
        "large webp without its pixels": _resized_webp(_saved(Image.fromarray(_pixels(3)), "WEBP"), 8000, 6000),
        "huge gif": b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + bytes(20),
        "huge bmp": b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 2**30, 2**30, 1, 24, 0) + bytes(20),
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\nshowpage\n",
        "pdf": b"%PDF-1.7\n1 0 obj\n",
    }
    raw = [Body(name, data, right=False) for name, data in made.items()]
    return (*raw, *_wrong_forms(jpeg), *_wrong_json(jpeg))


def mutants(seed: int) -> Iterator[Body]:
    """Endless: pictures of every kind with bytes changed, cut, moved and doubled, raw, in forms and in JSON."""
    rng = Random(seed)
    pictures = [body.data for body in odd_pictures()]
    while True:
        data = _mutated(bytearray(rng.choice(pictures)), rng)
        way = rng.random()
        if way < 0.8:
            yield Body("mutant", data)
        elif way < 0.9:
            body = _form(data)
            yield Body("mutant in a form", body if rng.random() < 0.5 else _mutated(bytearray(body), rng), FORM)
        else:
            text = json.dumps({"image": base64.b64encode(data).decode()}).encode()
            damaged = text if rng.random() < 0.5 else _mutated(bytearray(text), rng)
            yield Body("mutant in JSON", damaged, "application/json")


def jpeg_of_scans(more: int) -> bytes:
    """A progressive grey JPEG whose last scan, which passes over all pixels, comes `more` times again."""
    data = _saved(Image.new("L", (1000, 1000)), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xc4") : -2]
    return data[:-2] + last * more + data[-2:]


def tiff_of_tiles(side: int, count: int) -> bytes:
    """A grey TIFF of 300 x 300 pixels in uncompressed tiles, all of which lie at the same place."""
    offsets = struct.pack("<I", 8) * max(count, 2)
    values = {256: 300, 257: 300, 258: 8, 259: 1, 262: 1, 277: 1, 322: side, 323: side}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items()]
    begin = 8 + 2 + 12 * (len(entries) + 1) + 4
    entries.append(struct.pack("<HHII", 324, 4, max(count, 2), begin))
    pixels = bytes(min(side, 300) ** 2)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4) + offsets + pixels


def _mutated(data: bytearray, rng: Random) -> bytes:
    for _ in range(rng.randint(1, 4)):
        place, length = rng.randrange(len(data) + 1), rng.randint(1, 64)
        match rng.randrange(6):
            case 0:
                del data[place : place + length]
            case 1:
                data[place:place] = data[place : place + length]
            case 2:
                data[place : place + length] = rng.randbytes(length)
            case 3:
                del data[max(place, 1) :]
            case 4 if data:
                # Near the head, where sizes and counts stand.
                data[rng.randrange(min(len(data), 64))] = rng.choice((0, 1, 127, 128, 255))
            case _:
                other = rng.randrange(len(data) + 1)
                data[place:place] = data[other : other + 4 * length]
    return bytes(data)


def _wrong_forms(jpeg: bytes) -> list[Body]:
    whole = _form(jpeg)
    made = {
        "form without a boundary": (whole, "multipart/form-data"),
        "form with another boundary": (whole, "multipart/form-data; boundary=other"),
        "form without end": (whole[:-16], FORM),
        "form without the field": (whole.replace(b'"image"', b'"picture"'), FORM),
        "form with text": (
            b'--frontier\r\nContent-Disposition: form-data; name="image"\r\n\r\nhello\r\n--frontier--\r\n',
            FORM,
        ),
        "form of nothing": (b"--frontier--\r\n", FORM),
        "form of heads": (b"--frontier\r\n" + b"A: b\r\n" * 5000, FORM),
        "form of many fields": ((PART + b"\r\n\r\n") * 3000, FORM),
        "form with a strange charset": (whole, FORM + "; charset=nosuch"),
    }
    return [Body(name, data, kind, right=None if "charset" in name else False) for name, (data, kind) in made.items()]


def _wrong_json(jpeg: bytes) -> list[Body]:
    text = base64.b64encode(jpeg).decode()
    made = {
        "deep json": b"[" * 50_000,
        "deep json in json": b'{"image":' * 5_000,
        "json of a number": b'{"image": 1e999}',
        "json of null": b'{"image": null}',
        "json twice": json.dumps({"image": text, "images": [text]}).encode(),
        "json of many": json.dumps({"images": ["AAAA"] * 100}).encode(),
        "json of a broken letter": b'{"image": "\\ud800"}',
        "json of utf-16": '{"image": ""}'.encode("utf-16"),
        "json that is a picture": jpeg,
    }
    return [Body(name, data, "application/json", right=False) for name, data in made.items()]


def _colour_profile() -> bytes:
    """sRGB, with the same date every day: another date has another length in a PNG, and all mutants would be others."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    data[24:36] = struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
    return bytes(data)


def _form(data: bytes) -> bytes:
    head = b'--frontier\r\nContent-Disposition: form-data; name="image"; filename="../../a.jpg"\r\n'
    return head + b"Content-Type: image/jpeg\r\n\r\n" + data + b"\r\n--frontier--\r\n"


def _pixels(channels: int) -> np.ndarray:
    coarse = np.random.default_rng(channels).integers(0, 256, (6, 8, channels), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _claims(png: bytes, width: int, height: int) -> bytes:
    """A PNG whose head says another size."""
    data = bytearray(png)
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def _bomb(width: int, height: int) -> bytes:
    """A PNG of that size indeed, of some kilobytes."""
    pack = zlib.compressobj(9)
    row = bytes(1 + width // 8)
    rows = b"".join(pack.compress(row) for _ in range(height)) + pack.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _resized_jpeg(jpeg: bytes, width: int, height: int) -> bytes:
    """A JPEG whose frame header says another size."""
    place = jpeg.index(b"\xff\xc0")
    return jpeg[: place + 5] + struct.pack(">HH", height, width) + jpeg[place + 9 :]


def _resized_webp(webp: bytes, width: int, height: int) -> bytes:
    """A WebP whose frame header says another size."""
    place = webp.index(b"\x9d\x01\x2a")
    return webp[: place + 3] + struct.pack("<HH", width, height) + webp[place + 7 :]
