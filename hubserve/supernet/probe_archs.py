"""Chooses archs of a space whose networks show how large its tensors get, without listing all archs."""

from collections.abc import Iterator
from random import Random
from typing import Any

from hubserve.errors import ArchError
from hubserve.space import Arch, Choice, ModelSpace

MAX_SWEEPS = 16
"""Largest number of answers to a choice that `largest` and `varied` try; further ones occur in random archs only."""

PATIENCE, MAX_RANDOM = 16, 128
"""PATIENCE random archs in a row without a larger tensor end the search; MAX_RANDOM random archs end it in any case."""


def largest(space: ModelSpace) -> Iterator[Arch]:
    """Yields archs, with answers to all labels, in which every numeric choice has its largest value.

    In the i-th arch, every other choice has its answer i modulo the number of answers. There are at most `MAX_SWEEPS` archs,
    maybe none: those that the space's check refuses are left out.
    """
    others = [choice.size for choice in space.gates_first if not choice.is_numeric]
    for i in range(min(MAX_SWEEPS, max(others, default=1))):
        yield from _valid(space, {c.label: max(c.candidates) if c.is_numeric else _nth(c, i) for c in space.gates_first})


def varied(space: ModelSpace) -> Iterator[Arch]:
    """Yields archs, with answers to all labels: two with all numbers at their smallest, then some with all choices varied.

    In the i-th arch of each part, a varied choice has its answer i modulo the number of answers. The second part has as many
    archs as the numeric choice with the most answers, at most `MAX_SWEEPS`. Archs that the space's check refuses are left out.
    """
    sizes = [choice.size for choice in space.gates_first if choice.is_numeric]
    for i in range(2):
        yield from _valid(space, {c.label: min(c.candidates) if c.is_numeric else _nth(c, i) for c in space.gates_first})
    for i in range(min(MAX_SWEEPS, max(sizes, default=1))):
        yield from _valid(space, {c.label: _nth(c, i) for c in space.gates_first})


def random_answers(space: ModelSpace, rng: Random) -> Iterator[Arch]:
    """Yields `MAX_RANDOM` random archs that the space's check accepts, with random answers to inactive choices as well."""
    for _ in range(MAX_RANDOM):
        yield {choice.label: choice.random(rng) for choice in space.gates_first} | space.random(rng)


def other_answers(choice: Choice, base: Any) -> list[Any]:
    """Returns answers to `choice` other than `base` that show what the choice changes in a network.

    For a numeric choice it is the smallest other number, for others every other candidate; empty if there is no other
    candidate.
    """
    others = [answer for answer in choice.candidates if answer != base]
    return [min(others)] if others and choice.is_numeric else others


def _valid(space: ModelSpace, answers: dict[str, Any]) -> Iterator[Arch]:
    try:
        space.validate(answers)
    except ArchError:
        return  # The space's own check refuses it; `random_answers` yields archs that such a check accepts.
    yield answers


def _nth(choice: Choice, i: int) -> Any:
    return choice.answer_at(i % choice.size)
