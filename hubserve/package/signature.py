"""`ModelSignature` describes the inputs and outputs of a model of any kind, makes inputs to try it with, and checks others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubserve.errors import TensorError
from hubserve.package.example_arrays import BATCH_AXIS, example_arrays
from hubserve.package.manifest import InputEntry, Manifest, OutputEntry, TensorEntry

Array = NDArray[Any]

LONGEST_TRIED = 48
"""Largest length of an axis that exported models are tried with, except where the smallest allowed one is larger."""

EXPORT_SHARE = 0.6
"""Argument of `ModelSignature.lengths_at` that gives the lengths with which a model is exported."""

COMPARED = ((1, 0.0), (2, 0.3), (4, 1.0))
"""(batch size, argument of `ModelSignature.lengths_at`) of each batch on which exported models are compared."""


@dataclass(frozen=True)
class ModelSignature:
    """The inputs and outputs of a model, as the manifest of its package describes them.

    Attributes:
        inputs: Inputs, at least one, in the order of the arguments of the network.
        outputs: Outputs, at least one, in the order in which the network returns them.
    """

    inputs: tuple[InputEntry, ...]
    outputs: tuple[OutputEntry, ...]

    @classmethod
    def of(cls, manifest: Manifest) -> ModelSignature:
        """Returns the signature of the model of a manifest."""
        return cls(manifest.inputs, manifest.outputs)

    @property
    def classes(self) -> int:
        """Number of classes of a classifier, whose first output has the logits; 0 for other models."""
        last = self.outputs[0].shape[-1]
        return last if self.outputs[0].meaning == "logits" and isinstance(last, int) else 0

    @property
    def axes(self) -> dict[str, tuple[int, int | None]]:
        """Smallest (at least 1) and largest length of each named axis of the inputs besides "batch"; None means no largest one.

        Of inputs that share an axis, the narrower limits count.
        """
        found: dict[str, tuple[int, int | None]] = {}
        for entry in self.inputs:
            for axis in entry.shape:
                if isinstance(axis, str) and axis != BATCH_AXIS:
                    smallest, largest = entry.axes.get(axis, (1, None))
                    known = found.get(axis, (1, None))
                    most = [length for length in (largest, known[1]) if length is not None]
                    found[axis] = max(1, smallest, known[0]), min(most, default=None)
        return found

    @property
    def described(self) -> str:
        """The inputs as a phrase, such as "token_ids (int64: batch x length)"."""
        return phrase_of(self.inputs)

    @property
    def described_outputs(self) -> str:
        """The outputs as a phrase, such as "logits (float32: batch x 2)"."""
        return phrase_of(self.outputs)

    def lengths_at(self, share: float) -> dict[str, int]:
        """Returns a length of each named axis besides "batch".

        Args:
            share: Number in [0, 1]: 0 gives the smallest allowed length, 1 the largest one, but at most `LONGEST_TRIED` unless
                the smallest one is larger. The axis at place i, from 0, gets abs(share - 0.07 i), so that lengths differ.
        """
        found = {}
        for place, (axis, (smallest, largest)) in enumerate(self.axes.items()):
            most = min(max(LONGEST_TRIED, smallest), LONGEST_TRIED if largest is None else largest)
            found[axis] = smallest + round((max(most, smallest) - smallest) * abs(share - 0.07 * place))
        return found

    def export_batch(self) -> tuple[Array, ...]:
        """Returns the inputs, made-up ones of three rows, with which a model is captured for export."""
        return self.batch(3, self.lengths_at(EXPORT_SHARE), seed=1)

    def compared_batches(self) -> list[tuple[Array, ...]]:
        """Returns the made-up inputs to compare exported models on: other batch sizes and lengths, then `export_batch`."""
        others = [self.batch(rows, self.lengths_at(share), seed=rows) for rows, share in COMPARED]
        return [*others, self.export_batch()]

    def batch(self, rows: int, lengths: Mapping[str, int] | None = None, *, seed: int = 0) -> tuple[Array, ...]:
        """Returns made-up inputs; see `example_arrays`.

        Args:
            rows: Batch size.
            lengths: Length of the named axes besides "batch"; None takes those with which models are exported.
            seed: Seed of the random numbers.
        """
        sizes = self.lengths_at(EXPORT_SHARE) if lengths is None else lengths
        return tuple(example_arrays(self.inputs, sizes, batch=rows, seed=seed))

    def cut(self, inputs: Sequence[Array], row: int) -> tuple[Array, ...]:
        """Returns one row of a batch as a batch of its own, cut after its last element that is no padding.

        It is not cut below the smallest allowed length. Inputs that share an axis are cut at the same length.

        Args:
            inputs: Inputs of the batch, in the order of the signature.
            row: Index of the row.
        """
        own: dict[str, int] = {}
        for entry, array in zip(self.inputs, inputs, strict=True):
            axis = entry.shape[-1]
            if entry.padding is not None and isinstance(axis, str):
                used = np.flatnonzero((array[row] != entry.padding).reshape(-1, array.shape[-1]).any(axis=0))
                own[axis] = max(own.get(axis, self.axes[axis][0]), int(used[-1]) + 1 if used.size else 1)
        return tuple(
            array[row : row + 1][(slice(None), *(slice(own.get(str(axis))) for axis in entry.shape[1:]))]
            for entry, array in zip(self.inputs, inputs, strict=True)
        )

    def check(self, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
        """Checks inputs that somebody gives to the model, and returns them in the order of its arguments.

        Args:
            inputs: Arrays by the names of the inputs.

        Raises:
            TensorError: An input is missing or unknown, has another type or shape, an element that is not allowed or not
                finite, or a sequence of padding only; or axes of the same name have different lengths, or one that is not
                allowed.
        """
        names = [entry.name for entry in self.inputs]
        if sorted(inputs) != sorted(names):
            given = ", ".join(repr(name[:60]) for name in list(inputs)[:8]) or "none"
            raise TensorError(f"inputs: {given}; this model takes {self.described}, each of them once")
        lengths: dict[str, int] = {}
        for entry in self.inputs:
            _check_input(entry, inputs[entry.name], lengths)
        for axis, (smallest, largest) in self.axes.items():
            if lengths[axis] < smallest or (largest is not None and lengths[axis] > largest):
                allowed = f"{smallest:,} or more" if largest is None else f"{smallest:,} to {largest:,}"
                raise TensorError(f"axis {axis!r} has the length {lengths[axis]:,}; this model takes {allowed}")
        return tuple(inputs[name] for name in names)


def phrase_of(entries: Sequence[TensorEntry]) -> str:
    """Returns inputs or outputs as a phrase, such as "token_ids (int64: batch x length), mask (int64: batch x length)"."""
    return ", ".join(f"{entry.name} ({entry.dtype}: {' x '.join(map(str, entry.shape))})" for entry in entries)


def _check_input(entry: InputEntry, array: Array, lengths: dict[str, int]) -> None:
    """Checks one input, and adds the lengths of its named axes to `lengths`. Raises TensorError."""
    fixed = [(axis, length) for axis, length in zip(entry.shape, array.shape, strict=False) if isinstance(axis, int)]
    if array.dtype != entry.dtype or array.ndim != len(entry.shape) or any(axis != length for axis, length in fixed):
        shape = " x ".join(map(str, entry.shape))
        raise TensorError(f"{entry.name!r} is {array.dtype} of shape {array.shape}; this model takes {entry.dtype}: {shape}")
    for axis, length in zip(entry.shape, array.shape, strict=True):
        if isinstance(axis, str) and lengths.setdefault(axis, length) != length:
            raise TensorError(
                f"{entry.name!r}: axis {axis!r} has the length {length}, and {lengths[axis]} in an input before it"
            )
    if array.size and array.dtype.kind == "f" and not np.isfinite(array).all():
        raise TensorError(f"{entry.name!r} holds elements that are not finite")
    if array.size and array.dtype.kind in "iu":
        _check_integers(entry, array)


def _check_integers(entry: InputEntry, array: Array) -> None:
    """Raises TensorError if an element is neither between the limits of an input nor its padding."""
    low, high = entry.lowest, entry.highest
    beyond = np.zeros(array.shape, np.bool_)
    if low is not None:
        beyond |= array < low
    if high is not None:
        beyond |= array > high
    if entry.padding is not None:
        beyond &= array != entry.padding
        if entry.padding is not None and (array == entry.padding).all(axis=-1).any():
            raise TensorError(f"{entry.name!r} has a sequence of padding ({entry.padding}) only; each needs an element")
    if beyond.any():
        allowed = [f"{word} {limit}" for word, limit in (("at least", low), ("at most", high)) if limit is not None]
        raise TensorError(f"{entry.name!r} holds {array[beyond][0]}; this model takes integers of {' and '.join(allowed)}")
