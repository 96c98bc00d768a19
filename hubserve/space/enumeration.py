"""Counts the archs of a space exactly, and computes the arch at an index, without listing archs or building networks.

Choices are split into groups with no condition between the groups, and the groups' counts are multiplied. A group begins with
a gate, a choice that decides whether others are active. For each answer to the gate, the rest of the group is again split into
independent, smaller groups. So the time grows with the number of gates, not with the number of archs.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hubserve.space.choice import Arch, Choice

Choices = tuple[Choice, ...]
"""Choices in topological order: each comes after its gates, the choices that decide whether it is active."""


def count_archs(choices: Choices) -> int:
    """Returns the number of different canonical archs of `choices`: those that have answers to exactly the active choices."""
    return math.prod(_count_group(group) for group in _groups(choices))


def arch_at(choices: Choices, index: int) -> Arch:
    """Returns the canonical arch at `index`; different indices give different archs.

    `index` is from 0 to count_archs(choices) - 1, which is not checked.
    """
    arch: Arch = {}
    for group in _groups(choices):
        index, number = divmod(index, _count_group(group))
        arch.update(_group_at(group, number))
    return arch


def _count_group(group: Choices) -> int:
    gate, *others = group
    if not others:
        return gate.size
    # Answers that leave the same choices open are counted once: many gates of one choice would otherwise cost all combinations.
    left = [_left(others, gate.label, answer) for answer in gate.answers()]
    alike = {_what_is_open(choices): choices for choices in left}
    times = Counter(map(_what_is_open, left))
    return sum(times[key] * count_archs(choices) for key, choices in alike.items())


def _group_at(group: Choices, number: int) -> Arch:
    gate, *others = group
    if not others:
        return {gate.label: gate.answer_at(number)}
    for answer in gate.answers():
        choices = _left(others, gate.label, answer)
        below = count_archs(choices)
        if number < below:
            return {gate.label: answer, **arch_at(choices, number)}
        number -= below
    raise IndexError(number)


def _left(choices: Sequence[Choice], label: str, answer: Any) -> Choices:
    """Returns the choices that may still be active after `answer` to `label`, with the conditions that are still undecided."""
    left = []
    for choice in choices:
        open_paths = tuple(
            tuple(condition for condition in path if condition[0] != label)
            for path in choice.conditions
            if all(answer in values for gate, values in path if gate == label)
        )
        if open_paths:
            left.append(replace(choice, conditions=((),) if () in open_paths else open_paths))
    return tuple(left)


def _what_is_open(choices: Choices) -> tuple[tuple[str, Any], ...]:
    return tuple((choice.label, choice.conditions) for choice in choices)


def _groups(choices: Choices) -> list[Choices]:
    """Returns the choices split into groups with no condition between the groups; the order within a group is kept."""
    joined_to: dict[str, str] = {}

    def root(label: str) -> str:
        while label in joined_to:
            label = joined_to[label]
        return label

    for choice in choices:
        for gate in choice.gates:
            if root(gate) != root(choice.label):
                joined_to[root(choice.label)] = root(gate)
    groups: dict[str, list[Choice]] = {}
    for choice in choices:
        groups.setdefault(root(choice.label), []).append(choice)
    return [tuple(group) for group in groups.values()]
