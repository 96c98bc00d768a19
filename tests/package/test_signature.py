"""The description of inputs: what is made from it, and what of somebody's inputs is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubserve.errors import TensorError
from hubserve.package.manifest import InputEntry, OutputEntry
from hubserve.package.signature import ModelSignature

OUT = (OutputEntry(name="out", dtype="float32", shape=("batch", 3), meaning="other"),)


def words(**more) -> InputEntry:
    kind = {"dtype": "int64", "shape": ("batch", "length"), "lowest": 0, "highest": 9, "axes": {"length": (2, 20)}}
    return InputEntry(**{"name": "words", "prepared_by": "none", **kind, **more})


SPEAKER = InputEntry(name="pitch", dtype="float32", shape=("batch", "length", 2), prepared_by="none")
BOTH = ModelSignature((words(padding=0), SPEAKER), OUT)


def made(length: int, rows: int = 2, **replaced) -> dict[str, np.ndarray]:
    found = {"words": np.ones((rows, length), np.int64), "pitch": np.zeros((rows, length, 2), np.float32)}
    return found | replaced


def test_batches_have_other_sizes_and_lengths_than_the_exported_one():
    exported = BOTH.export_batch()[0].shape
    shapes = [batch[0].shape for batch in BOTH.compared_batches()]
    assert shapes[-1] == exported
    assert len({rows for rows, _ in shapes[:-1]} - {exported[0]}) >= 2
    assert len({length for _, length in shapes[:-1]} - {exported[1]}) >= 2
    assert {2, 20} < {length for _, length in shapes}  # The smallest and the largest that are allowed.


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 4), length=st.integers(2, 20), seed=st.integers(0, 99), smallest=st.integers(1, 2))
def test_examples_fit_their_description(rows, length, seed, smallest):
    signature = ModelSignature((words(padding=0, axes={"length": (smallest, 20)}), SPEAKER), OUT)
    batch = signature.batch(rows, {"length": length}, seed=seed)
    assert [array.shape for array in batch] == [(rows, length), (rows, length, 2)]
    assert signature.check(dict(zip(["words", "pitch"], batch, strict=True)))[0] is batch[0]
    for row in range(rows):
        (ids, pitch) = signature.cut(batch, row)
        assert ids.shape[1] == pitch.shape[1] >= smallest
        assert (batch[0][row, ids.shape[1] :] == 0).all()
        np.testing.assert_array_equal(ids[0], batch[0][row, : ids.shape[1]])
        assert ids[0, -1] != 0 or ids.shape[1] == smallest


def test_rows_without_padding_stay_whole():
    signature = ModelSignature((words(),), OUT)
    assert signature.cut((np.zeros((3, 7), np.int64),), 1)[0].shape == (1, 7)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({}, "none; this model takes words"),
        ({**made(5), "more": np.zeros(1)}, "'more'"),
        (
            made(5, words=np.ones((2, 5), np.int32)),
            r"'words' is int32 of shape \(2, 5\); this model takes int64:",
        ),
        (made(5, words=np.ones(5, np.int64)), "batch x length"),
        (made(5, pitch=np.zeros((2, 5, 3), np.float32)), "batch x length x 2"),
        (made(5, words=np.ones((2, 6), np.int64)), "'length' has the length 5, and 6"),
        (made(5, words=np.ones((3, 5), np.int64)), "'batch' has the length 2, and 3"),
        (made(1), "length 1; this model takes 2 to 20"),
        (made(21), "length 21; this model takes 2 to 20"),
        (made(5, words=np.full((2, 5), 10)), "holds 10; this model takes integers of at least 0 and at most 9"),
        (made(5, words=np.full((2, 5), -1)), "holds -1"),
        (made(5, words=np.array([[1] * 5, [0] * 5])), "padding"),
        (made(5, pitch=np.full((2, 5, 2), np.nan, np.float32)), "not finite"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(inputs, says):
    with pytest.raises(TensorError, match=says):
        BOTH.check(inputs)


def test_limits_of_several_inputs_hold_together():
    signature = ModelSignature((words(), words(name="mask", axes={"length": (3, None)})), OUT)
    assert signature.axes == {"length": (3, 20)}
