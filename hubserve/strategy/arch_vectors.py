"""`ArchVectors`, which converts archs to vectors of numbers whose inner product says how much two archs have in common."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubserve.space import Choice, ModelSpace

Vectors = NDArray[np.float32]
"""A vector for each arch, shape (archs, columns)."""


class ArchVectors:
    """Converts archs of a space to vectors of norm 1; the inner product of two is the share of choices answered alike.

    A choice has a block of columns, which counts as 1 divided by the number of choices:

    - One of several candidates is one-hot: the same answer counts 1, another 0. If the candidates are numbers, half of that is
      counted by distance: 1 for the same number, 0 for the smallest against the largest, by ranks in between.
    - Any number of inputs counts the share of inputs that both answers choose, or both do not choose.
    - k inputs count the share of the k that both answers choose.
    - A choice that is inactive in both archs counts 1, in one of them 0.

    Args:
        space: The space of the archs.

    Attributes:
        columns: Number of elements of a vector.
    """

    def __init__(self, space: ModelSpace) -> None:
        self._tables = {label: _Block(choice) for label, choice in space.choices.items()}
        self._scale = 1 / np.sqrt(max(1, len(self._tables)))
        self.columns = sum(block.columns for block in self._tables.values())

    def __call__(self, archs: Sequence[Mapping[str, Any]]) -> Vectors:
        """Returns the vectors of canonical archs."""
        vectors = np.zeros((len(archs), self.columns), np.float32)
        for row, arch in zip(vectors, archs, strict=True):
            start = 0
            for label, block in self._tables.items():
                row[start : start + block.columns] = block.row(arch, label)
                start += block.columns
        return vectors * np.float32(self._scale)


class _Block:
    """The columns of one choice; the last one says that the choice is inactive."""

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._rows: dict[Any, Vectors] = {}
        count = len(choice.candidates)
        self._any_number = not choice.is_numeric and len({len(choice.indices(answer)) for answer in _ends(choice)}) > 1
        ordered = sorted(choice.candidates) if choice.is_numeric and count > 1 else None
        self._ranks = None if ordered is None else np.array([ordered.index(candidate) for candidate in choice.candidates])
        more = count if self._any_number else 2 * (count - 1) if self._ranks is not None else 0
        self.columns = count + more + 1

    def row(self, arch: Mapping[str, Any], label: str) -> Vectors:
        if label not in arch:
            return self._inactive
        key = tuple(arch[label]) if isinstance(arch[label], list) else arch[label]
        if key not in self._rows:
            self._rows[key] = self._made(arch[label])
        return self._rows[key]

    @property
    def _inactive(self) -> Vectors:
        row = np.zeros(self.columns, np.float32)
        row[-1] = 1
        return row

    def _made(self, answer: Any) -> Vectors:
        row, count = np.zeros(self.columns, np.float32), len(self._choice.candidates)
        indices = self._choice.indices(answer)
        row[indices] = 1
        if self._any_number:
            row[count : 2 * count] = 1 - row[:count]
        elif self._ranks is not None:
            above = self._ranks[indices[0]] > np.arange(count - 1)
            row[count : 2 * count - 1], row[2 * count - 1 : 3 * count - 2] = above, ~above
            row[:count] *= np.sqrt(0.5)
            row[count:] *= np.sqrt(0.5 / (count - 1))
            return row
        return row / np.float32(np.sqrt(float(row.sum()) or 1.0))


def _ends(choice: Choice) -> tuple[Any, Any]:
    """Returns the first and the last answer; they have different lengths if a choice takes any number of inputs."""
    return choice.answer_at(0), choice.answer_at(choice.size - 1)
