"""Reads the files of weights that TorchSharp writes (.tsm), in which ML.NET publishes models: `read_torchsharp`.

A file has the number of tensors, and for each tensor the length and text of its name, the number of its type, the number of its
axes, the length of each axis and its little-endian values. All these numbers are in LEB128, seven bits a byte.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hubserve.errors import WeightsError

DTYPES = {0: "u1", 1: "i1", 2: "<i2", 3: "<i4", 4: "<i8", 5: "<f2", 6: "<f4", 7: "<f8", 11: "?"}
"""TorchSharp's number of a type, which is torch's -> numpy's name of it."""

MOST_AXES = 8
MOST_NAME_BYTES = 1024


def read_torchsharp(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a file by TorchSharp, by name.

    Raises:
        WeightsError: The file cannot be read, is truncated, or is no such file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from error
    reader = _Reader(path, content)
    tensors: dict[str, Tensor] = {}
    for _ in range(reader.number()):
        try:
            name = bytes(reader.take(reader.number(most=MOST_NAME_BYTES))).decode("utf-8")
        except UnicodeDecodeError as error:
            raise reader.refusal("the name of a tensor is no UTF-8") from error
        tensors[name] = reader.tensor(name)
    if reader.rest or not tensors:
        raise reader.refusal(f"{reader.rest:,} bytes follow its {len(tensors)} tensors")
    return tensors


class _Reader:
    """Reads a file from its beginning; every method raises WeightsError where the file ends too early."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._path = path
        self._content = memoryview(content)
        self._place = 0

    @property
    def rest(self) -> int:
        """Number of bytes that are not read yet."""
        return len(self._content) - self._place

    def take(self, length: int) -> memoryview:
        if length > self.rest:
            raise self.refusal(f"it ends {length - self.rest:,} bytes too early")
        self._place += length
        return self._content[self._place - length : self._place]

    def number(self, *, most: int | None = None) -> int:
        """Returns the next number; the largest one that is allowed is `most`, or the length of the file for None."""
        most = len(self._content) if most is None else most
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if value > most or shift > 63:
                raise self.refusal(f"it has a number above {most:,} where a length or a count is due")
            if byte < 0x80:
                return value

    def tensor(self, name: str) -> Tensor:
        kind = self.number()
        if kind not in DTYPES:
            raise self.refusal(f"the tensor {name!r} has the unknown type {kind}")
        dtype = np.dtype(DTYPES[kind])
        shape = [self.number() for _ in range(self.number(most=MOST_AXES))]
        values = np.frombuffer(self.take(math.prod(shape) * dtype.itemsize), dtype)
        try:
            return torch.from_numpy(values.reshape(shape).astype(dtype.newbyteorder("=")))
        except ValueError as error:  # Axes of an empty tensor may be too long for numpy.
            raise self.refusal(f"the tensor {name!r} has the shape {shape}") from error

    def refusal(self, reason: str) -> WeightsError:
        return WeightsError(f"{self._path} is no readable file of TorchSharp: {reason}")
