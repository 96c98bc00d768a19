"""How images fit the input: cropped, padded or squashed, by one record for training, serving and the packaged script."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from hubserve.data.augmentation import TrainingCrop
from hubserve.export.run_onnx import prepare
from hubserve.preprocess import Preprocess

SIDES = st.integers(1, 300)


def pixels(width, height, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@given(
    SIDES,
    SIDES,
    st.integers(1, 64),
    st.sampled_from(["pad", "squash"]),
    st.sampled_from(["bilinear", "bicubic"]),
    st.booleans(),
)
def test_all_ways_of_preparing_an_image_agree(width, height, size, fit, interpolation, bgr):
    record = Preprocess(
        input_size=size, resize=size + 8, fit=fit, interpolation=interpolation, channels="bgr" if bgr else "rgb"
    )
    image = pixels(width, height)
    reference = record.reference(Image.fromarray(image))
    assert reference.shape == (3, size, size)
    assert np.array_equal(record.fast(image), reference)
    script = prepare(Image.fromarray(image), json.loads(record.model_dump_json()))
    assert np.allclose(script, reference, atol=1e-6)


def test_squash_shows_both_ends():
    record = Preprocess(input_size=20, resize=20, fit="squash")
    image = np.zeros((100, 600, 3), np.uint8)
    image[:, :50] = (255, 0, 0)
    image[:, -50:] = (0, 255, 0)
    square = record.square(image)
    assert square[10, 0].tolist() == [255, 0, 0]
    assert square[10, -1].tolist() == [0, 255, 0]
    cropped = Preprocess(input_size=20, resize=20).square(image)
    assert not cropped.any()


@pytest.mark.parametrize(
    ("width", "height", "box"), [(600, 100, (0, 8, 20, 11)), (100, 600, (8, 0, 11, 20)), (50, 50, (0, 0, 20, 20))]
)
def test_pad_shows_all_in_its_shape_between_borders(width, height, box):
    record = Preprocess(input_size=20, resize=20, fit="pad")
    square = record.square(np.full((height, width, 3), 255, np.uint8))
    left, top, right, bottom = box
    assert (square[top:bottom, left:right] == 255).all()
    square[top:bottom, left:right] = record.border
    assert (square == record.border).all()
    assert np.abs(record.normalise(square.transpose(2, 0, 1))).max() < 0.02  # About 0, the mean of all images.


@pytest.mark.parametrize("size", [(1, 1), (65_535, 1), (1, 4000), (3, 2000)])
@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_extreme_shapes(size, fit):
    record = Preprocess(input_size=32, resize=32, fit=fit)
    assert record.fast(np.zeros((*size, 3), np.uint8)).shape == (3, 32, 32)


def test_the_border_has_the_order_of_the_image():
    settings = {"input_size": 8, "resize": 8, "fit": "pad", "scale": 1.0, "mean": (103.5, 116.3, 123.7), "std": (1.0, 1.0, 1.0)}
    assert Preprocess(**settings).border == (104, 116, 124)
    assert Preprocess(**settings, channels="bgr").border == (124, 116, 104)
    assert Preprocess(input_size=8, resize=8, fit="pad", mean=(-1.0, 0.5, 2.0)).border == (0, 128, 255)


def test_a_record_of_before_is_cropped():
    before = {"input_size": 224, "resize": 256, "interpolation": "bilinear", "channels": "rgb", "scale": 255.0}
    assert Preprocess.model_validate(before).fit == "crop"
    with pytest.raises(ValidationError, match="'crop', 'pad' or 'squash'"):
        Preprocess(fit="stretch")


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_training_sees_nearly_all_of_what_serving_sees(fit):
    """At least 0.7 of the area of the square, which a centre crop of a long image is far from."""
    record = Preprocess(input_size=40, resize=40, fit=fit)
    image = np.zeros((100, 600, 3), np.uint8)
    image[:, :150] = (255, 0, 0)
    torch.manual_seed(0)
    crop = TrainingCrop(record)
    seen = [crop(image) for _ in range(50)]
    assert {tuple(square.shape) for square in seen} == {(3, 40, 40)}
    assert sum(bool((square[0].int() - square[1].int() > 200).any()) for square in seen) == 50
    cropped = TrainingCrop(Preprocess(input_size=40, resize=40))
    assert sum(bool((square[0].int() > 200).any()) for square in (cropped(image) for _ in range(50))) < 50
