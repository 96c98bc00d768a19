"""Choices of numbers, blended: the largest network runs, and its tensors are multiplied by how much of them is kept."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from hubserve.space import Choice
from hubserve.supernet.blend import Blend
from hubserve.supernet.network_shapes import Atlas
from hubserve.supernet.tensor_keys import Slot
from hubserve.supernet.tensors import window_mask

MAX_JOINT = 1024
"""Networks that may be built to find how several choices together decide about one axis."""

Shapes = dict[str, tuple[int, ...]]
"""Key -> shape, in one network."""


@dataclass(frozen=True)
class Mask:
    """How much of some axes of a tensor is kept.

    Attributes:
        labels: choices that decide about it, together.
        table: 1 where a combination of candidates keeps a place, else 0: (candidates of the first label, ..., axis, ...).
    """

    labels: tuple[str, ...]
    table: torch.Tensor

    def keep(self, blends: Mapping[str, Blend]) -> torch.Tensor:
        """The expected mask, each label being drawn by its weights: (axis, ...)."""
        first = blends[self.labels[0]].weights
        kept = self.table.to(first.device, first.dtype)
        for label in self.labels:
            kept = torch.tensordot(blends[label].weights, kept, dims=1)
        return kept


@dataclass(frozen=True)
class MaskedAxes:
    """A mask, and the axes of a tensor that it is for: one axis, or those of a kernel."""

    key: str
    axes: tuple[int, ...]
    mask: Mask


def find_masks(
    atlas: Atlas,
    base: Mapping[str, Any],
    choices: Sequence[Choice],
    *,
    everywhere: bool,
) -> list[MaskedAxes]:
    """The masks of all tensors whose shapes `choices` decide about.

    Args:
        atlas: of the space.
        base: answers of the largest network.
        choices: of numbers (or names) that change shapes.
        everywhere: mask all axes; else only where a value must become zero for the network to be the smaller one: what a
            layer gives, in its norm where one follows, but not what the next layer would have read there.
    """
    deciding = _deciding_labels(atlas, base, choices)
    wanted = {place: labels for place, labels in deciding.items() if everywhere or _matters(*place)}
    seen = _joint_shapes(atlas, base, choices, set(wanted.values()))
    made: dict[Any, Mask] = {}
    return [
        MaskedAxes(slot.key, axes, _mask(slot, axes, labels, {c.label: c for c in choices}, base, seen, made))
        for (slot, axes), labels in wanted.items()
    ]


def _deciding_labels(
    atlas: Atlas,
    base: Mapping[str, Any],
    choices: Sequence[Choice],
) -> dict[tuple[Slot, tuple[int, ...]], tuple[str, ...]]:
    """Slot and axes -> labels on which their sizes depend; axes of a kernel that depend on the same labels stay together."""
    whole = atlas.look(base)
    parameters = {} if whole is None else {key: slot for key, slot in whole.slots.items() if not slot.is_buffer}
    on: dict[tuple[str, int], list[str]] = {}
    for choice in choices:
        for answer in probes(choice, base[choice.label]):
            for key, shape in atlas.shapes({**base, choice.label: answer}).items():
                for axis, size in enumerate(shape):
                    if key in parameters and size != parameters[key].shape[axis]:
                        labels = on.setdefault((key, axis), [])
                        labels += [choice.label] if choice.label not in labels else []
    together: dict[tuple[Slot, tuple[int, ...]], tuple[str, ...]] = {}
    for (key, axis), labels in sorted(on.items()):
        slot = parameters[key]
        if slot.centred and axis > 2 and on.get((key, 2)) == labels:
            axes = tuple(a for a in range(2, axis) if on.get((key, a)) == labels)
            together.pop((slot, axes), None)
            together[(slot, (*axes, axis))] = tuple(labels)
        else:
            together[(slot, (axis,))] = tuple(labels)
    return together


def probes(choice: Choice, base: Any) -> Iterator[Any]:
    """Answers that show what a choice changes: the smallest number, or each other name."""
    others = [answer for answer in choice.candidates if answer != base]
    yield from [min(others)] if choice.is_numeric and others else others


def _matters(slot: Slot, axes: tuple[int, ...]) -> bool:
    if len(slot.shape) == 1 or axes[0] >= 2:
        return True
    if isinstance(slot.owner, _ConvNd) and slot.name == "weight":
        return axes[0] == 0 and slot.owner.bias is not None
    if isinstance(slot.owner, nn.Linear):
        return axes[0] == 0
    return True


def _joint_shapes(
    atlas: Atlas,
    base: Mapping[str, Any],
    choices: Sequence[Choice],
    groups: set[tuple[str, ...]],
) -> list[tuple[dict[str, int], Shapes]]:
    """Networks among which, for each group of labels, each combination of candidates occurs.

    Labels that share no group change at the same time: they get one colour, and the networks go through the colours.
    """
    # The others stay as they are: what they leave out would not be seen.
    choices = [choice for choice in choices if any(choice.label in group for group in groups)]
    colour: dict[str, int] = {}
    for choice in choices:
        taken = {colour[other] for group in groups if choice.label in group for other in group if other in colour}
        colour[choice.label] = next(c for c in itertools.count() if c not in taken)
    sizes = [0] * (1 + max(colour.values(), default=-1))
    for choice in choices:
        sizes[colour[choice.label]] = max(sizes[colour[choice.label]], choice.size)
    found = []
    for combination in itertools.islice(itertools.product(*map(range, sizes)), MAX_JOINT):
        indices = {choice.label: combination[colour[choice.label]] % choice.size for choice in choices}
        answers = {choice.label: choice.candidates[indices[choice.label]] for choice in choices}
        found.append((indices, atlas.shapes({**base, **answers})))
    return found


def _mask(
    slot: Slot,
    axes: tuple[int, ...],
    labels: tuple[str, ...],
    choices: Mapping[str, Choice],
    base: Mapping[str, Any],
    seen: Sequence[tuple[dict[str, int], Shapes]],
    made: dict[Any, Mask],
) -> Mask:
    """The table of one tensor; equal ones are made once."""
    sizes = [choices[label].size for label in labels]
    shapes: dict[tuple[int, ...], tuple[int, ...]] = {}
    for indices, of_network in seen:
        if slot.key in of_network:
            place = tuple(indices[label] for label in labels)
            shapes.setdefault(place, tuple(of_network[slot.key][axis] for axis in axes))
    full = tuple(slot.shape[axis] for axis in axes)
    identity = (labels, full, slot.centred and axes[0] >= 2, tuple(sorted(shapes.items())))
    if identity not in made:
        table = torch.ones(prod(sizes), *full)
        for place, shape in shapes.items():
            row = _row(place, sizes)
            for i, axis in enumerate(axes):
                along = window_mask({axis: full[i]}, {axis: shape[i]}, axis, centred=slot.centred)  # type: ignore[arg-type]
                table[row] *= along.view([-1 if j == i else 1 for j in range(len(axes))])
        made[identity] = Mask(labels, table.view(*sizes, *full))
    return made[identity]


def _row(place: Sequence[int], sizes: Sequence[int]) -> int:
    row = 0
    for index, size in zip(place, sizes, strict=True):
        row = row * size + index
    return row
