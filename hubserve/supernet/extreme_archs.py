"""`largest_arch` and `smallest_arch`: the archs between which the networks of a space lie, by their number of parameters."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import torch

from hubserve.errors import ArchError
from hubserve.space import Arch, Choice, ModelSpace
from hubserve.supernet.probe_archs import MAX_SWEEPS

N_RANDOM = 64
"""Number of random archs of which the largest or smallest one is taken if the space's check refuses the combined answers."""


def largest_arch(space: ModelSpace) -> Arch:
    """Returns the canonical arch with the largest number in each numeric choice, and the answers with most parameters.

    Choices that are not numeric are answered one after another, each by the answer with which the network has most parameters,
    the first one of several; at most `MAX_SWEEPS` answers of a choice are tried. If the space's check refuses these answers
    together, returns the arch with most parameters of `N_RANDOM` random ones.
    """
    return _extreme(space, max, 1)


def smallest_arch(space: ModelSpace) -> Arch:
    """Returns the canonical arch with the smallest number in each numeric choice, and the answers with fewest parameters.

    It is found as in `largest_arch`. Of several answers without a difference in parameters it takes the last one: the first
    ones are often a layer that passes nothing on, which would leave a network without gradients.
    """
    return _extreme(space, min, -1)


def _extreme(space: ModelSpace, of_numbers: Callable[[Any], Any], sign: int) -> Arch:
    answers = {c.label: of_numbers(c.candidates) if c.is_numeric else c.answer_at(0) for c in space.gates_first}
    for choice in space.gates_first:
        if not choice.is_numeric and choice.size > 1:
            tried = list(_tried(space, answers, choice, sign))
            if tried:
                answers[choice.label] = max(tried, key=lambda each: (sign * each[0], -sign * each[1]))[2]
    try:
        return space.canonical(answers)
    except ArchError:
        rng = Random(0)
        return max((space.random(rng) for _ in range(N_RANDOM)), key=lambda arch: sign * _parameters(space, arch))


def _tried(space: ModelSpace, answers: Arch, choice: Choice, sign: int) -> Iterator[tuple[int, int, Any]]:
    """Yields (number of parameters, index, answer) for those answers to `choice` that the space's check accepts."""
    for index in range(min(choice.size, MAX_SWEEPS)):
        answer = choice.answer_at(index)
        try:
            arch = space.canonical(answers | {choice.label: answer})
        except ArchError:
            continue
        yield _parameters(space, arch), index, answer


def _parameters(space: ModelSpace, arch: Arch) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in space.freeze(arch).parameters())
