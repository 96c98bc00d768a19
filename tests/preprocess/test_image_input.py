"""Images as Python callers hold them: the same pixels however they are given, and clear refusals."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hubserve.errors import ImageError, ImageTooLargeError
from hubserve.preprocess import decode_pixels, input_pixels
from tests.images import encoded, noise, photo


def test_all_kinds_give_the_same_pixels(tmp_path):
    data = photo("chelsea")
    path = tmp_path / "cat.jpg"
    path.write_bytes(data)
    expected = decode_pixels(data)
    opened = Image.open(path)
    for image in (data, bytearray(data), memoryview(data), path, str(path), opened, expected, expected[:, ::-1][:, ::-1]):
        assert np.array_equal(input_pixels(image), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_of_pillow_is_turned_upright_as_its_file_is(orientation):
    image = Image.open(io.BytesIO(photo("chelsea"))).resize((40, 30))
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    opened = Image.open(io.BytesIO(buffer.getvalue()))
    assert np.array_equal(input_pixels(opened), decode_pixels(buffer.getvalue()))
    assert opened.getexif()[0x0112] == orientation  # The caller's image is as it was.
    assert opened.size == (40, 30)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "P", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "I", "F"])
def test_every_mode_of_pillow_becomes_rgb(mode):
    source = Image.open(io.BytesIO(noise(20)))
    image = source.convert("LA" if mode == "La" else "RGBA").convert(mode)
    pixels = input_pixels(image)
    assert (pixels.shape, pixels.dtype) == ((20, 20, 3), np.uint8)
    assert image.mode == mode


def test_what_is_transparent_lies_on_white():
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert (input_pixels(image) == 255).all()
    assert np.array_equal(input_pixels(np.asarray(image)), decode_pixels(encoded(image)))


@given(st.sampled_from([(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)]), st.integers(0, 1000))
def test_an_array_is_what_its_png_would_be(shape, seed):
    array = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    image = Image.fromarray(array[:, :, 0] if shape[2:] == (1,) else array)
    assert np.array_equal(input_pixels(array), decode_pixels(encoded(image)))


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((3, 5, 7), np.uint8), r"shape \(3, 5, 7\).*transpose\(1, 2, 0\)"),
        (np.zeros((5, 7, 3), np.float32), r"float32.*\(array \* 255\)"),
        (np.zeros((5, 7, 3), np.uint16), "uint16; expected pixels"),
        (np.zeros((2, 5, 7, 3), np.uint8), r"list\(array\)"),
        (np.zeros(5, np.uint8), r"shape \(5,\)"),
        (np.zeros((0, 7, 3), np.uint8), "is empty"),
        (np.zeros((5, 7, 2), np.uint8), "with 1 or 4 values"),
        (np.array("cat"), "expected pixels"),
    ],
)
def test_other_arrays_are_refused_with_a_hint(array, says):
    with pytest.raises(ImageError, match=says):
        input_pixels(array)


@pytest.mark.parametrize("given_image", [None, 3, [b""], {"a": 1}, io.BytesIO(b"")])
def test_other_things_are_refused(given_image):
    with pytest.raises(ImageError, match=f"not a {type(given_image).__name__}"):
        input_pixels(given_image)


def test_a_refusal_names_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("no image")
    with pytest.raises(ImageError, match=r"notes.txt: 8 bytes that are not a readable image"):
        input_pixels("notes.txt")
    with pytest.raises(ImageError, match=f"cannot read photo.jpg: No such file or directory; looked in {tmp_path}"):
        input_pixels("photo.jpg")
    with pytest.raises(ImageError, match=r"cannot read .*: Is a directory"):
        input_pixels(tmp_path)
    with pytest.raises(ImageError, match="is an address, and only files are read"):
        input_pixels("https://example.org/photo.jpg")
    with pytest.raises(ImageError, match="cannot read"):
        input_pixels("a\0b")


def test_the_limit_holds_for_all_kinds(tmp_path):
    data = noise(20)
    (tmp_path / "a.png").write_bytes(data)
    for image in (data, tmp_path / "a.png", np.zeros((20, 20, 3), np.uint8), Image.open(io.BytesIO(data))):
        with pytest.raises(ImageTooLargeError, match="20 x 20 pixels"):
            input_pixels(image, max_pixels=399)


def test_a_truncated_file_behind_an_image_of_pillow():
    image = Image.open(io.BytesIO(photo("chelsea")[:5000]))
    with pytest.raises(ImageError, match="not a readable image"):
        input_pixels(image)


def test_an_empty_image_of_pillow():
    with pytest.raises(ImageError, match="0 x 4 pixels is empty"):
        input_pixels(Image.new("RGB", (0, 4)))
