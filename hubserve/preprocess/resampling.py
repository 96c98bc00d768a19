"""Resizes a region of an image as Pillow's `Image.resize` does, by matrix products, which take less time.

Both directions of the resize are sums of source pixels times weights. Pillow computes them one pixel at a time with whole
numbers (weights times 2^22), and rounds to 8 bits after each direction. Here a block of neighbouring pixels is one product of
matrices, in float32 with the same weights, which use the vector units of the processor. Only the pixels of the region are
computed, whereas Pillow's `box` is stored in float32 and gives other weights than a resize of the whole image.

Values differ by at most 1 from those of Pillow (with the order of directions that its versions have): a sum after the first
direction is rounded only where float32 is certain to give Pillow's whole number. Near a tie it stays as it is, within about
0.5 of Pillow's. The weights of a pixel have absolute values of at most 1.4 together, so the sums of the second direction differ
by less than 1 before they are rounded.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Interpolation = Literal["bilinear", "bicubic"]

SUPPORT: dict[Interpolation, int] = {"bilinear": 1, "bicubic": 2}
"""Distance, in pixels of the source or of the result, whichever are larger, from which on the weights of a filter are 0."""

BLOCK = 16
"""Number of result pixels in a row or column that are computed by one product of matrices."""

SMALL_PRODUCT = 2**18
"""Largest number of multiplications of one product of matrices. OpenBLAS, which numpy uses, starts threads for more."""

STRIP = 2**18
"""Largest number of source values that are converted to float32 at once, unless a single row has more."""

LONGEST_KEPT = 4096
"""Longest side of an image, in pixels, whose weights are kept; they take at most about 0.7 MB."""

TIE = 2.0**-15
"""Largest error of a float32 sum of 8-bit values, for each of its weights that is not 0."""


class Block(NamedTuple):
    """Neighbouring pixels of the result, along one direction.

    Attributes:
        result: Range of these pixels in the result.
        source: Range of the source pixels that they are computed from.
        weights: Weight of each source pixel for each result pixel, (result pixels, source pixels) float32.
        columns: The same weights, (source pixels, result pixels).
    """

    result: slice
    source: slice
    weights: NDArray[np.float32]
    columns: NDArray[np.float32]


class Direction(NamedTuple):
    """The resize along one direction, width or height.

    Attributes:
        source: Range of source pixels that the region needs. The ranges in `blocks` begin at its start.
        length: Number of pixels of the result.
        most_weights: Largest number of weights of a result pixel that are not 0.
        at_once: Number of rows (or columns) that one product of matrices may have.
        blocks: The pixels of the result, from the first to the last.
    """

    source: slice
    length: int
    most_weights: int
    at_once: int
    blocks: tuple[Block, ...]


def direction(length: int, resized: int, first: int, count: int, interpolation: Interpolation) -> Direction:
    """Returns the resize of one side of an image, of which only a region of the result is needed.

    The last 32 results are kept, which saves 0.2 ms each, but none for a side of more than `LONGEST_KEPT` pixels.

    Args:
        length: Length of the whole side in source pixels.
        resized: Length in pixels to which the whole side is resized.
        first: First pixel of the region, in the resized side.
        count: Length of the region in pixels.
        interpolation: Filter of the resize.
    """
    compute = _kept_direction if length <= LONGEST_KEPT else _direction
    return compute(length, resized, first, count, interpolation)


def _direction(length: int, resized: int, first: int, count: int, interpolation: Interpolation) -> Direction:
    """Returns the resize of one side; see `direction`."""
    scale = length / resized
    reach = SUPPORT[interpolation] * max(scale, 1.0)
    centres = (np.arange(first, first + count) + 0.5) * scale
    begins = np.maximum((centres - reach + 0.5).astype(np.int64), 0)
    ends = np.minimum((centres + reach + 0.5).astype(np.int64), length)
    most = int((ends - begins).max())
    pixels = begins[:, None] + np.arange(most)
    weights = _FILTERS[interpolation]((pixels - centres[:, None] + 0.5) / max(scale, 1.0))
    weights[pixels >= ends[:, None]] = 0.0
    weights /= weights.cumsum(axis=1)[:, -1:]  # A sum from left to right, as Pillow's.
    whole = np.trunc(weights * 2**22 + np.copysign(0.5, weights)) / 2**22
    low = int(begins[0])
    blocks = []
    for start in range(0, count, BLOCK):
        rows = slice(start, min(start + BLOCK, count))
        source = slice(int(begins[start]) - low, int(ends[rows].max()) - low)
        # Weights of 0 may stand beyond the last source pixel, so the matrix has some columns more until they are cut.
        matrix = np.zeros((rows.stop - start, source.stop - source.start + most), np.float32)
        np.put_along_axis(matrix, pixels[rows] - low - source.start, whole[rows].astype(np.float32), axis=1)
        matrix = np.ascontiguousarray(matrix[:, : source.stop - source.start])
        blocks.append(Block(rows, source, matrix, np.ascontiguousarray(matrix.T)))
    at_once = max(1, SMALL_PRODUCT // max(block.weights.size for block in blocks))
    return Direction(slice(low, int(ends.max())), count, most, at_once, tuple(blocks))


_kept_direction = lru_cache(maxsize=32)(_direction)


def resize_region(
    pixels: NDArray[np.uint8],
    width: Direction,
    height: Direction,
    *,
    vertical_first: bool,
    channels: tuple[int, int, int] = (0, 1, 2),
) -> NDArray[np.float32]:
    """Returns a region of a resized image, (3, height, width) float32 with whole numbers from 0 to 255.

    Args:
        pixels: The whole image, (height, width, 3) uint8.
        width: The resize of the width.
        height: The resize of the height.
        vertical_first: Whether the height is resized before the width.
        channels: The channels of the image in the order of the result.
    """
    found = np.empty((3, height.length, width.length), np.float32)
    for plane, channel in zip(found, channels, strict=True):
        source = pixels[height.source, width.source, channel]
        if vertical_first:
            _resize_both(source.T, height, width, plane.T)
        else:
            _resize_both(source, width, height, plane)
    return found


def _resize_both(source: NDArray[np.uint8], first: Direction, second: Direction, found: NDArray[np.float32]) -> None:
    """Resizes the rows of a channel as `first` says, and then its columns as `second` says, into `found`."""
    rows, length = source.shape
    between = _memory.array("between", (rows, first.length))
    for part in _ranges(rows, min(first.at_once, max(1, STRIP // length))):
        values = _memory.array("values", (part.stop - part.start, length))
        values[...] = source[part]
        sums = between[part]
        for block in first.blocks:
            np.matmul(values[:, block.source], block.columns, out=sums[:, block.result])
    _round_between(between, first.most_weights * TIE)
    for part in _ranges(first.length, second.at_once):
        for block in second.blocks:
            np.matmul(block.weights, between[block.source, part], out=found[block.result, part])
    found += np.float32(0.5)  # Halves are rounded up, as in Pillow.
    np.floor(found, out=found)
    np.clip(found, 0, 255, out=found)


def _round_between(values: NDArray[np.float32], error: float) -> None:
    """Rounds sums and clips them to 0..255, in place; those within `error` of a tie become the mean of both whole numbers."""
    higher = np.add(values, np.float32(0.5 + error), out=_memory.array("higher", values.shape))
    values += np.float32(0.5 - error)
    np.floor(higher, out=higher)
    np.floor(values, out=values)
    values += higher
    values *= np.float32(0.5)
    np.clip(values, 0, 255, out=values)


def _ranges(count: int, step: int) -> Iterator[slice]:
    """Yields consecutive ranges from 0 to `count`, each of at most `step`."""
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def _bilinear(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(1.0 - np.abs(distances), 0.0)


def _bicubic(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the weights, at distances in pixels, of Keys' cubic filter with a = -0.5, which Pillow uses."""
    x = np.abs(distances)
    near = (1.5 * x - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


_FILTERS = {"bilinear": _bilinear, "bicubic": _bicubic}


class _Memory(threading.local):
    """Memory of one thread that is used again for the next image: fresh memory costs a page fault for every 4 KB."""

    def __init__(self) -> None:
        self._kept: dict[str, NDArray[np.float32]] = {}

    def array(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Returns an uninitialised array, which shares its memory with all arrays of that name that this thread was given.

        An array of more than `STRIP` elements has memory of its own.
        """
        size = math.prod(shape)
        if size > STRIP:
            return np.empty(shape, np.float32)
        if name not in self._kept:
            self._kept[name] = np.empty(STRIP, np.float32)
        return self._kept[name][:size].reshape(shape)


_memory = _Memory()
