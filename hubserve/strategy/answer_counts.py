"""`CountedVectors`, vectors of archs that also say how often each answer was given, whichever choices it was given to."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from hubserve.space import Arch, Choice, ModelSpace, OneOf
from hubserve.strategy.arch_vectors import ArchVectors, Vectors

SHARE = 0.25
"""Share of the inner product that is of counted answers, in a space where choices have the same candidates."""


class CountedVectors:
    """Converts archs to vectors of norm 1; a fourth of the inner product is of counts of answers, the rest of `ArchVectors`.

    A group has all choices of one candidate with the same candidates, at least two choices, such as the operations in a cell.
    Its columns count the choices of the group with each answer, and those that are inactive; the counts are scaled to norm 1.
    The weight of a group is proportional to its number of choices. So two archs with the same operations in other places are
    alike in part. A space without such groups has the vectors of `ArchVectors`.

    Args:
        space: The space of the archs.
    """

    def __init__(self, space: ModelSpace) -> None:
        self._single = ArchVectors(space)
        self._groups = _groups(space)

    def __call__(self, archs: Sequence[Mapping[str, Any]]) -> Vectors:
        """Returns the vectors of canonical archs."""
        single = self._single(archs)
        if not self._groups:
            return single
        choices = sum(len(group) for group in self._groups)
        counted = [np.sqrt(SHARE * len(group) / choices) * _counts(group, archs) for group in self._groups]
        return np.concatenate([np.sqrt(1 - SHARE) * single, *counted], axis=1).astype(np.float32)


def _groups(space: ModelSpace) -> list[list[Choice]]:
    """Returns the groups of two or more choices with the same candidates."""
    groups: dict[str, list[Choice]] = {}
    for choice in space.choices.values():
        if isinstance(choice, OneOf):
            groups.setdefault(repr(choice.candidates), []).append(choice)
    return [group for group in groups.values() if len(group) > 1]


def _counts(group: Sequence[Choice], archs: Sequence[Mapping[str, Any]]) -> Vectors:
    """Returns the counts of the answers of a group in each arch, scaled to norm 1; the last column is of inactive choices."""
    counts = np.zeros((len(archs), len(group[0].candidates) + 1), np.float32)
    for row, arch in zip(counts, archs, strict=True):
        for choice in group:
            row[choice.indices(arch[choice.label]) if choice.label in arch else -1] += 1
    scaled: Vectors = counts / np.linalg.norm(counts, axis=1, keepdims=True)
    return scaled


@lru_cache(maxsize=4)
def grid_vectors(space: ModelSpace) -> tuple[tuple[Arch, ...], Vectors]:
    """Returns all archs that the space's check accepts, and their vectors; for spaces of some ten thousand archs at most."""
    archs = tuple(arch for index in range(space.grid_size) if space.allows(arch := space.grid_arch(index)))
    return archs, CountedVectors(space)(archs)
