"""Random inputs follow their description: dtype, shape, allowed values and padding."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hubserve.package.example_arrays import example_arrays
from hubserve.package.manifest import InputEntry

TOKENS = InputEntry(
    name="tokens", dtype="int64", shape=("batch", "length"), lowest=0, highest=9, padding=1, axes={"length": (1, 12)}
)
IMAGES = InputEntry(name="images", dtype="float32", shape=("batch", 3, 8, 8))


def test_floats_are_normal():
    (array,) = example_arrays([IMAGES], batch=4)
    assert (array.shape, array.dtype) == ((4, 3, 8, 8), np.float32)
    assert abs(array.mean()) < 0.2
    assert 0.8 < array.std() < 1.2


@given(batch=st.integers(1, 5), length=st.integers(1, 9), seed=st.integers(0, 1000), padding=st.integers(0, 3))
def test_padding_is_at_the_end_only(batch, length, seed, padding):
    entry = TOKENS.model_copy(update={"highest": 3, "padding": padding})
    (array,) = example_arrays([entry], {"length": length}, batch=batch, seed=seed)
    assert (array.shape, array.dtype) == ((batch, length), np.int64)
    assert array.min() >= 0
    assert array.max() <= 3
    assert (array[0] != padding).all()
    for row in array:
        ends = np.flatnonzero(row != padding)
        assert ends.size == ends.max() + 1


def test_lengths_that_are_not_given_are_allowed_ones():
    assert example_arrays([TOKENS])[0].shape == (1, 12)
    assert example_arrays([TOKENS.model_copy(update={"axes": {"length": (20, None)}})])[0].shape == (1, 20)
    assert example_arrays([TOKENS.model_copy(update={"axes": {}})])[0].shape == (1, 16)


def test_one_seed_one_answer():
    first, again, other = (example_arrays([TOKENS, IMAGES], batch=3, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_a_mask_has_one_value_and_padding():
    for dtype in ("int64", "bool"):
        mask = InputEntry(name="mask", dtype=dtype, shape=("batch", "length"), lowest=1, highest=1, padding=0)
        (array,) = example_arrays([mask], {"length": 6}, batch=4)
        assert array.dtype == np.dtype(dtype)
        assert array[0].all()
        assert not array.all()
