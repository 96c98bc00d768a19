"""Archs that show how large the tensors of a space get, without listing the space."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from hubserve.errors import ArchError
from hubserve.space import Arch, Choice, ModelSpace

MAX_SWEEPS = 16
"""Candidates of a choice that get a turn of their own; further ones are left to random archs."""

PATIENCE, MAX_RANDOM = 16, 128
"""Random archs in a row that must bring nothing new before all is found, and how many there are at most."""


def largest(space: ModelSpace) -> Iterator[Arch]:
    """Answers to all labels with each number at its largest, everything else going through its candidates."""
    others = [choice.size for choice in space.gates_first if not choice.is_numeric]
    for i in range(min(MAX_SWEEPS, max(others, default=1))):
        yield from _valid(space, {c.label: max(c.candidates) if c.is_numeric else _nth(c, i) for c in space.gates_first})


def varied(space: ModelSpace) -> Iterator[Arch]:
    """The same with each number at its smallest; then with all choices going through their candidates together."""
    sizes = [choice.size for choice in space.gates_first if choice.is_numeric]
    for i in range(2):
        yield from _valid(space, {c.label: min(c.candidates) if c.is_numeric else _nth(c, i) for c in space.gates_first})
    for i in range(min(MAX_SWEEPS, max(sizes, default=1))):
        yield from _valid(space, {c.label: _nth(c, i) for c in space.gates_first})


def random_answers(space: ModelSpace, rng: Random) -> Iterator[Arch]:
    """Random answers to all labels."""
    for _ in range(MAX_RANDOM):
        yield {choice.label: choice.random(rng) for choice in space.gates_first} | space.random(rng)


def _valid(space: ModelSpace, answers: dict[str, Any]) -> Iterator[Arch]:
    try:
        space.validate(answers)
    except ArchError:
        return  # The space's own rule forbids it; random archs see to such spaces.
    yield answers


def _nth(choice: Choice, i: int) -> Any:
    return choice.answer_at(i % choice.size)
