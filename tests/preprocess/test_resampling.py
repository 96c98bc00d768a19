"""The resize by matrix products against Pillow's: at most 1 of 255 apart, whatever the sizes and the pixels are."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hubserve.preprocess import resampling
from hubserve.preprocess.resampling import Direction, direction, resize_region

INTERPOLATIONS = st.sampled_from(["bilinear", "bicubic"])


def ours(pixels: np.ndarray, size: tuple[int, int], interpolation: str, box: tuple[int, int, int, int] | None = None):
    """The pixels `box` (left, top, right, bottom) of an image resized to `size`, and the order of the directions."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = box or (0, 0, *size)
    x = direction(width, size[0], left, right - left, interpolation)
    y = direction(height, size[1], top, bottom - top, interpolation)
    found = [resize_region(pixels, x, y, vertical_first=first).transpose(1, 2, 0) for first in (False, True)]
    return found[0], found[1]


def pillow(pixels: np.ndarray, size: tuple[int, int], interpolation: str):
    """The same, one direction at a time, by Pillow."""
    image, filter_ = Image.fromarray(pixels), Image.Resampling[interpolation.upper()]
    horizontal = image.resize((size[0], image.height), filter_).resize(size, filter_)
    vertical = image.resize((image.width, size[1]), filter_).resize(size, filter_)
    return np.asarray(horizontal), np.asarray(vertical)


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def dense(found: Direction) -> np.ndarray:
    """The weights of all pixels, (pixels of the result, source pixels)."""
    weights = np.zeros((found.length, found.source.stop - found.source.start))
    for block in found.blocks:
        weights[block.result, block.source] = block.weights
    return weights


@given(*[st.integers(1, 120)] * 4, INTERPOLATIONS, st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_whole_images(width, height, new_width, new_height, interpolation, seed):
    pixels, size = noise(width, height, seed), (new_width, new_height)
    for found, expected in zip(ours(pixels, size, interpolation), pillow(pixels, size, interpolation), strict=True):
        assert found.shape == expected.shape
        assert np.array_equal(found, np.round(found))
        assert np.abs(found - expected).max() <= 1


@given(st.integers(40, 200), st.integers(40, 200), INTERPOLATIONS, st.data())
@settings(max_examples=40, deadline=None)
def test_a_region_has_the_pixels_of_the_whole(width, height, interpolation, data):
    left, top = (data.draw(st.integers(0, 30)) for _ in range(2))
    right, bottom = (data.draw(st.integers(start + 1, 32)) for start in (left, top))
    pixels = noise(width, height)
    for found, whole in zip(
        ours(pixels, (32, 32), interpolation, (left, top, right, bottom)), ours(pixels, (32, 32), interpolation), strict=True
    ):
        # Blocks begin elsewhere, so that float32 sums are added in another order.
        assert np.abs(found - whole[top:bottom, left:right]).max() <= 1
        assert (found != whole[top:bottom, left:right]).sum() <= 1 + 0.02 * found.size


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(64, 64), (128, 64), (37, 41), (256, 256)])
def test_pixels_between_two_numbers(interpolation, size):
    """Stripes and checks of neighbouring values: most sums lie near a tie, where float32 may not round as Pillow does."""
    rows, columns = np.indices((128, 128))
    for values in (rows % 2, columns % 2, (rows + columns) % 2, (rows // 2 + columns // 3) % 2, rows + columns):
        pixels = np.repeat((100 + values).astype(np.uint8)[..., None], 3, axis=2)
        for found, expected in zip(ours(pixels, size, interpolation), pillow(pixels, size, interpolation), strict=True):
            assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_photos_have_nearly_all_pixels_of_pillow(interpolation):
    photo = np.asarray(Image.fromarray(noise(30, 20)).resize((500, 375), Image.Resampling.BICUBIC))
    for found, expected in zip(ours(photo, (341, 256), interpolation), pillow(photo, (341, 256), interpolation), strict=True):
        assert (found == expected).mean() > 0.997


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_sharp_edges_are_clipped_between_the_directions(interpolation):
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[10:30, 10:30] = 255
    for found, expected in zip(ours(pixels, (33, 29), interpolation), pillow(pixels, (33, 29), interpolation), strict=True):
        assert np.abs(found - expected).max() <= 1


@given(st.integers(1, 5000), st.integers(1, 600), INTERPOLATIONS)
@settings(max_examples=100, deadline=None)
def test_weights(length, resized, interpolation):
    """What the bound of 1 rests on: they add up to 1, and without their signs to at most 1.4."""
    weights = dense(direction(length, resized, 0, resized, interpolation))
    assert weights.shape == (resized, length)
    assert np.abs(weights.sum(1) - 1).max() < 1e-5 * max(1, length / resized)
    assert np.abs(weights).sum(1).max() <= 1.4


def test_strips_and_small_products_change_nothing(monkeypatch):
    pixels = noise(300, 400)
    before = ours(pixels, (100, 120), "bicubic")
    monkeypatch.setattr(resampling, "STRIP", 1000)
    monkeypatch.setattr(resampling, "SMALL_PRODUCT", 5000)
    resampling._kept_direction.cache_clear()
    after = ours(pixels, (100, 120), "bicubic")
    resampling._kept_direction.cache_clear()
    for one, other in zip(before, after, strict=True):
        assert np.abs(one - other).max() <= 1
        assert (one == other).mean() > 0.99


def test_the_order_of_channels():
    pixels = noise(50, 40)
    x, y = direction(50, 20, 0, 20, "bilinear"), direction(40, 16, 0, 16, "bilinear")
    rgb = resize_region(pixels, x, y, vertical_first=False)
    bgr = resize_region(pixels, x, y, vertical_first=False, channels=(2, 1, 0))
    assert np.array_equal(bgr, rgb[::-1])
    assert bgr.flags.c_contiguous


def test_weights_of_long_sides_are_not_kept():
    resampling._kept_direction.cache_clear()
    direction(65_535, 256, 0, 256, "bicubic")
    assert resampling._kept_direction.cache_info().currsize == 0
    kept = direction(4096, 256, 0, 256, "bicubic")
    assert direction(4096, 256, 0, 256, "bicubic") is kept
    assert sum(block.weights.nbytes + block.columns.nbytes for block in kept.blocks) < 0.8e6


def test_threads_do_not_share_memory():
    photos = [noise(200, 150, seed) for seed in range(4)]
    expected = [ours(photo, (100, 75), "bicubic")[0] for photo in photos]
    wrong = []

    def work(place: int) -> None:
        for _ in range(20):
            if not np.array_equal(ours(photos[place], (100, 75), "bicubic")[0], expected[place]):
                wrong.append(place)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
