"""What the client sends is decoded by the service to the pixels that `hubserve.load` sees."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hubserve.client.image_bytes import image_bytes
from hubserve.errors import ImageError
from hubserve.preprocess import decode_pixels, input_pixels
from tests.images import noise, photo

MODES = ["1", "L", "LA", "La", "P", "RGB", "RGBA", "RGBa", "RGBX", "PA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F"]


def test_files_are_sent_as_they_are(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"anything")
    for given_image in (
        b"anything",
        bytearray(b"anything"),
        memoryview(b"anything"),
        tmp_path / "a.jpg",
        str(tmp_path / "a.jpg"),
    ):
        assert image_bytes(given_image) == b"anything"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_modes_of_pillow(mode, orientation):
    source = Image.open(io.BytesIO(noise(20))).crop((0, 0, 20, 12))
    image = source.convert({"La": "LA", "PA": "RGBA", "RGBa": "RGBA", "RGBA": "RGBA"}.get(mode, "RGB")).convert(mode)
    image.getexif()[0x0112] = orientation
    pixels = decode_pixels(image_bytes(image))
    assert pixels.shape == ((20, 12, 3) if orientation == 6 else (12, 20, 3))
    assert np.array_equal(pixels, input_pixels(image))


@pytest.mark.parametrize("highest", [200, 65536])
def test_16_bit_greys(highest):
    values = np.random.default_rng(0).integers(0, highest, (9, 7))
    for dtype in (np.uint16, np.int32):
        image = Image.fromarray(values.astype(dtype))
        assert np.array_equal(decode_pixels(image_bytes(image)), input_pixels(image))


def test_transparency_and_profiles_of_an_image():
    image = Image.open(io.BytesIO(noise(20)))
    image.info |= {"transparency": image.getpixel((3, 3)), "icc_profile": b"no profile"}
    assert np.array_equal(decode_pixels(image_bytes(image)), input_pixels(image))


@given(st.sampled_from([(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)]), st.integers(0, 1000))
def test_arrays(shape, seed):
    array = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    assert np.array_equal(decode_pixels(image_bytes(array)), input_pixels(array))


def test_what_is_refused():
    with pytest.raises(ImageError, match="float64; expected pixels"):
        image_bytes(np.zeros((2, 2)))
    with pytest.raises(ImageError, match="not a int"):
        image_bytes(3)
    with pytest.raises(ImageError, match="not a readable image: OSError"):
        image_bytes(Image.open(io.BytesIO(photo("chelsea")[:5000])))
    with pytest.raises(ImageError, match="cannot read nothing"):
        image_bytes("nothing.jpg")
