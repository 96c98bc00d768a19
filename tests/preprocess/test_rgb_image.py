"""What an image file becomes as 8-bit RGB: ranges by type, transparency, orientation, corrupt EXIF, a JPEG's end."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from hubserve.errors import ImageError
from hubserve.preprocess import convert_to_rgb, decode_image, decode_pixels
from hubserve.preprocess.image_facts import image_facts
from hubserve.preprocess.rgb_image import REQUIRE_JPEG_END, TURNS, read_rgb_file
from tests.image_kinds import GREY, RGB, chunk, grey_tiff, image_kinds, png, saved, with_corrupt_exif, with_exif
from tests.images import photo

KINDS = image_kinds()


def grey(data: bytes) -> np.ndarray:
    """The one channel of a decoded grey image."""
    pixels = np.asarray(decode_image(data))
    assert (pixels == pixels[:, :, :1]).all()
    return pixels[:, :, 0]


@pytest.mark.parametrize("name", KINDS)
def test_every_way_to_decode_gives_the_same_pixels(name, tmp_path, recwarn):
    data = KINDS[name]
    (tmp_path / "image").write_bytes(data)
    expected = np.asarray(decode_image(data))
    assert np.array_equal(decode_pixels(data), expected)
    assert np.array_equal(np.asarray(read_rgb_file(tmp_path / "image")), expected)
    if name != "AVIF with corrupt exif":  # Pillow itself does not open it.
        opened = Image.open(io.BytesIO(data))
        assert np.array_equal(np.asarray(convert_to_rgb(opened)), expected)
        assert np.array_equal(np.asarray(convert_to_rgb(convert_to_rgb(opened))), expected)
    facts = image_facts(data)
    assert (facts.height, facts.width) == expected.shape[:2]
    assert not [warning for warning in recwarn if "EXIF" in str(warning.message)]


RANGES = {
    "12-bit tiff": (np.uint16, 4095, {"bits": 12}),
    "16-bit tiff": (np.uint16, 65535, {}),
    "signed 16-bit tiff": (np.int16, 32767, {}),
    "32-bit tiff": (np.int32, 65535, {}),
    "unsigned 32-bit tiff": (np.uint32, 65535, {}),
    "float tiff": (np.float32, 1, {}),
}
ORDERS = [
    (name, order)
    for name in RANGES
    for order in "<>"
    if (name, order) not in {("12-bit tiff", ">"), ("unsigned 32-bit tiff", ">")}  # Pillow reads neither.
]


@pytest.mark.parametrize(("name", "order"), ORDERS)
@given(data=st.data())
@settings(max_examples=25)
def test_the_range_follows_from_the_type_alone(name, order, data):
    dtype, top, options = RANGES[name]
    elements = {"min_value": 0, "max_value": 4095} if "bits" in options else {}
    values = data.draw(arrays(dtype, (4, 6), elements=elements or None))
    exact = np.nan_to_num(values.astype(np.float64), posinf=top, neginf=0).clip(0, top)
    found = grey(grey_tiff(values, order=order, **options))
    np.testing.assert_array_equal(found, (exact / top * 255).round())
    if order == "<" and name in ("16-bit tiff", "float tiff"):
        np.testing.assert_array_equal(grey(grey_tiff(values, photometric=0)), ((top - exact) / top * 255).round())


def test_a_pixel_does_not_depend_on_the_brightest():
    values = np.full((4, 4), 100, np.int32)
    brighter = values.copy()
    brighter[3, 3] = 60_000
    assert grey(grey_tiff(values))[0, 0] == grey(grey_tiff(brighter))[0, 0]
    values, brighter = (each.astype(np.float32) / 200 for each in (values, brighter))
    assert grey(grey_tiff(values))[0, 0] == grey(grey_tiff(brighter))[0, 0] == 128


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@given(clear=st.integers(0, 65535), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_the_clear_grey_of_a_png_lies_on_white(depth, clear, seed):
    clear %= 1 << depth
    samples = np.random.default_rng(seed).integers(0, 1 << depth, (4, 16))
    samples[0, 0] = clear
    bits = (samples[:, :, None] >> np.arange(depth)[::-1] & 1).reshape(4, -1).astype(np.uint8)
    rows = np.packbits(bits, axis=1)
    expected = (samples / ((1 << depth) - 1) * 255).round()
    np.testing.assert_array_equal(grey(png(rows, depth)), expected)
    expected[samples == clear] = 255
    np.testing.assert_array_equal(grey(png(rows, depth, 0, chunk(b"tRNS", struct.pack(">H", clear)))), expected)


@pytest.mark.parametrize("depth", [8, 16])
def test_the_clear_colour_of_a_png_lies_on_white(depth):
    samples = np.zeros((2, 2, 3), f">u{depth // 8}")
    samples[0, 0] = [1 << depth - 1, 3 << depth - 2, 1 << depth - 1]
    rows = samples.reshape(2, 6).view(np.uint8)
    clear = chunk(b"tRNS", samples[0, 0].astype(">u2").tobytes())
    pixels = np.asarray(decode_image(png(rows, depth, 2, clear)))
    assert (pixels[0, 0] == 255).all()
    assert (pixels[1] == 0).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_corrupt_exif_turns_nothing(kind):
    assert decode_image(with_corrupt_exif(kind)).size == RGB.size
    assert image_facts(with_corrupt_exif(kind), decode=False)[:2] == RGB.size


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation(kind, orientation):
    upright = decode_image(with_exif(kind, 1))
    turned = upright if orientation == 1 else upright.transpose(TURNS[orientation])
    assert np.array_equal(np.asarray(decode_image(with_exif(kind, orientation))), np.asarray(turned))


class TestJpegWithoutEndMarker:
    @pytest.mark.parametrize(
        "options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}, {"optimize": True}]
    )
    @pytest.mark.parametrize("image", [RGB, GREY, RGB.convert("CMYK")], ids=["rgb", "grey", "cmyk"])
    def test_it_has_the_pixels_of_the_whole_file(self, image, options):
        data = saved(image, "JPEG", **options)
        for cut in (1, 2):
            assert np.array_equal(decode_pixels(data[:-cut]), decode_pixels(data))

    @pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}])
    @pytest.mark.parametrize("image", [RGB, Image.new("RGB", (64, 64), "grey")], ids=["noise", "flat"])
    @given(data=st.data())
    @settings(max_examples=20)
    def test_what_lacks_pixels_is_refused_or_complete(self, image, options, data):
        """A file without its last bytes may still hold all pixels: padding, or a refinement that changes nothing."""
        whole = saved(image, "JPEG", **options)
        scan = whole.rindex(b"\xff\xda")
        kept = data.draw(st.integers(scan, len(whole) - 3))
        try:
            pixels = decode_pixels(whole[:kept])
        except ImageError:
            return
        if not options.get("progressive"):  # Up to its last scan, a progressive JPEG is a complete one of less quality.
            assert np.abs(pixels.astype(int) - decode_pixels(whole)).max() <= 40
            assert (pixels != decode_pixels(whole)).mean() < 0.1

    @pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
    def test_a_truncated_photo_is_refused(self, share):
        data = photo("chelsea")
        with pytest.raises(ImageError, match="truncated"):
            decode_pixels(data[: int(share * len(data))])

    @pytest.mark.parametrize("value", ["1", "true", "on"])
    def test_a_setting_refuses_it(self, value, monkeypatch, tmp_path):
        monkeypatch.setenv(REQUIRE_JPEG_END, value)
        for decode in (decode_image, decode_pixels):
            with pytest.raises(ImageError, match="truncated"):
                decode(saved(RGB, "JPEG")[:-2])
            decode(saved(RGB, "JPEG"))
        (tmp_path / "x.jpg").write_bytes(saved(RGB, "JPEG")[:-2])
        with pytest.raises(OSError, match="truncated"):
            read_rgb_file(tmp_path / "x.jpg")
