"""`example_arrays` makes random inputs of a model of any kind from the description of its inputs alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubserve.package.manifest import InputEntry

BATCH_AXIS = "batch"
"""Name of the axis along which the examples of a batch lie."""

DEFAULT_LENGTH = 16
"""Length of an axis whose length is not given, unless its description does not allow it."""


def example_arrays(
    inputs: Sequence[InputEntry], lengths: Mapping[str, int] | None = None, *, batch: int = 1, seed: int = 0
) -> list[NDArray[Any]]:
    """Returns random values for each of `inputs`, in their order.

    Elements of floating-point tensors are drawn from the standard normal distribution. Integers are drawn uniformly from
    `lowest` to `highest`; with `lowest` alone, from that and the next one; with `highest` alone, from the smaller one of 0 and
    `highest` - 1 on; without limits, from 0 and 1. A padding that is drawn is replaced by an integer beside it that is allowed.
    Where sequences (along the last axis) can be padded, the first one of the batch has the full length and each other one a
    random length, at least 1, followed by padding.

    >>> tokens = InputEntry(name="tokens", dtype="int64", shape=("batch", "length"), lowest=0, highest=99, padding=0)
    >>> example_arrays([tokens], {"length": 8}, batch=3)[0].shape
    (3, 8)

    Args:
        inputs: Descriptions of the inputs.
        lengths: Length of the axes that have names, except "batch"; whether it is allowed is not checked. An axis that is not
            in it has the length 16, or the nearest one that is allowed.
        batch: Number of examples, the length of the axes "batch".
        seed: Seed of the random numbers.
    """
    rng = np.random.default_rng(seed)
    given = {**(lengths or {}), BATCH_AXIS: batch}
    return [_example(rng, entry, given) for entry in inputs]


def _example(rng: np.random.Generator, entry: InputEntry, lengths: Mapping[str, int]) -> NDArray[Any]:
    shape = tuple(axis if isinstance(axis, int) else _length(entry, axis, lengths) for axis in entry.shape)
    dtype = np.dtype(entry.dtype)
    if np.issubdtype(dtype, np.floating):
        return rng.standard_normal(shape).astype(dtype)
    values = rng.integers(*_limits(entry), shape, endpoint=True)
    if entry.padding is not None:
        # Another value than the padding in its place, one that is allowed: the padding may be the largest.
        values[values == entry.padding] = entry.padding + (-1 if entry.padding == _limits(entry)[1] else 1)
        ends = rng.integers(1, shape[-1], shape[:-1], endpoint=True)
        ends.reshape(-1)[0] = shape[-1]
        values[np.arange(shape[-1]) >= ends[..., None]] = entry.padding
    return values.astype(dtype)


def _limits(entry: InputEntry) -> tuple[int, int]:
    """Returns the smallest and largest integer to draw, at least two different ones if there is a padding among them."""
    lowest = entry.lowest if entry.lowest is not None else 0 if entry.highest is None else min(0, entry.highest - 1)
    return lowest, lowest + 1 if entry.highest is None else entry.highest


def _length(entry: InputEntry, axis: str, lengths: Mapping[str, int]) -> int:
    if axis in lengths:
        return lengths[axis]
    smallest, largest = entry.axes.get(axis, (1, None))
    return max(smallest, DEFAULT_LENGTH if largest is None else min(DEFAULT_LENGTH, largest))
